"""Evaluation of a trained run: scores of a split, calibration, explanations and the label audit.

The logits and labels of a split are written once (`predictions`); all figures follow from them.
"""
