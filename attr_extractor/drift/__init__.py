"""Drift: whether a new delivery of a catalogue is still what the model was trained on.

A delivery is compared with the records in up to four parts: its labels and the formats and sizes
of its photos with the training split, what its photos look like and what a model makes of them
with photos that the model was not trained on. Every comparison has a size, what chance alone would
make of that size, and a p-value; what counts as drift is both large and significant.
"""
