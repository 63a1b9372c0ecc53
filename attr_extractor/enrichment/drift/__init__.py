"""Drift detection: compare a new delivery of a catalogue with the training records.

A delivery is compared in up to four aspects. Its labels and the formats and sizes of its photos are
compared with the training split. The appearance of its photos and the model outputs are compared
with photos that the model was not trained on. Every comparison has a size, the size expected by
chance, and a p-value; drift is both large and significant.
"""
