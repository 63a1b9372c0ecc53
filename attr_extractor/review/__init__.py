"""The review page: people look at what seller and model disagree on, and decide.

cells.parquet -> a queue in SQLite, the most worth a look first -> decisions -> a corrected table.
May import every room before it; TensorFlow only where heat maps or an exported model are asked for.
"""
