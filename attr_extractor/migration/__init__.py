"""A schema changes, and one written mapping carries the table and a trained run over.

mapping.yaml + both schemas -> a plan in which nothing is left open -> the seller's table, and a
run to begin a training with. May import training and the rooms before it; TensorFlow only where
a run is carried over.
"""
