"""The seller's table: reading it, its photos (step a), splits and sampling, the demo catalogue."""
