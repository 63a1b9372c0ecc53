"""What a shop does with answers: fill, quality, review, search, drift and migration."""
