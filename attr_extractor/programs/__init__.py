"""The programs: a module for each verb of `attr-extractor`, with its flags and `main`."""
