"""Answers from elsewhere: a vendor, a language model, people. No TensorFlow."""
