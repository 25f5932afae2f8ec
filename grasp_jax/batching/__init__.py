"""Batches, packed rows and what is drawn for them, on the devices."""
