"""Search for similar products by photo: an index of embeddings, its build, queries and web page."""
