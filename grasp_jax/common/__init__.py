"""What knows nothing of recommending: errors, artefacts, archives, files."""
