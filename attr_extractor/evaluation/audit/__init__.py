"""Label audit: a list of cells that are probably wrong or could be filled."""
