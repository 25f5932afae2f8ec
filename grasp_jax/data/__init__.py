"""What users did: readers, filters, splits, the synthetic shop, batches."""
