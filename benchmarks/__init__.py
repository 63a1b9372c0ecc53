"""Benchmarks of bench.py and the load test of soak.py; only a checkout has them.

They may import the whole package; the package imports none of them.
"""
