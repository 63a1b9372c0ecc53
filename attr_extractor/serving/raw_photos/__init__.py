"""Raw photo files in the served graph, as catalogue/photos.py and records/pixels.py read them.

headers.py finds a file's format, size and rotation, decode.py its upright pixels, shrink.py the
stored photo's pixels, batch.py the model's, with an error per photo. Stock ops only, no Python.
"""
