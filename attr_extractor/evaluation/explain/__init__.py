"""Explanations of answers: heat maps of a value (Grad-CAM) and attention maps of a photo."""
