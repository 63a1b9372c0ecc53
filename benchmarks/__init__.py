"""Benchmarks of bench.py; only a checkout has them.

They may import the whole package; the package imports none of them.
"""
