"""Convolutional networks by name, with faster layers than Keras' own, and pretrained weights."""
