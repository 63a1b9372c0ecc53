"""Label sources: tables of (product, attribute, value, confidence, source). No TensorFlow."""
