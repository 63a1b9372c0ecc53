"""Export and serving: a SavedModel whose answers are the catalogue's attribute values."""
