"""The seller's table: readers, photo preprocessing (step a), splits, sampling."""
