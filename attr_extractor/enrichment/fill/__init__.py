"""Fill the empty cells of a table with a model's answers."""
