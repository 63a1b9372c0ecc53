"""Photo in, products that look like it out: an index of embeddings, its build, search and page."""
