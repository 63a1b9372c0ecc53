"""The review page: reviewers decide cells on which seller and model disagree.

cells.parquet -> a queue in SQLite, most useful cells first -> decisions -> a corrected table.
TensorFlow is imported only for heat maps and for an exported model.
"""
