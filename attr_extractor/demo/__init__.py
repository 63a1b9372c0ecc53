"""Demo catalogue: synthetic product photos and a half-filled seller's table (no TensorFlow)."""
