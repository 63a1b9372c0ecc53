"""Schema migration: one mapping file carries the table and a trained run over to a new schema.

mapping.yaml + both schemas -> a complete plan -> the seller's table, and a run to start a training
from. May import training and the subpackages before it; imports TensorFlow only to migrate a run.
"""
