"""Evaluation of a trained run: metrics on a split and the report."""
