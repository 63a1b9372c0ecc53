"""Evaluation of a trained run: the figures of a split and their report, calibration and label audit.

The logits and labels of a split are written once (`predictions`); all else is computed from them.
"""
