"""The served model: a SavedModel that answers in the catalogue's words."""
