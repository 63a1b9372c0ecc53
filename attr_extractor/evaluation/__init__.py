"""What a trained run is worth: metrics over a split and the report."""
