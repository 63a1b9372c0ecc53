"""Export and serving: a SavedModel whose answers are the catalogue's attribute values.

export.py writes and verifies a version folder: the signatures of served_model.py, which decode
photos in the graph (raw_photos.py) and run the network folded (fold.py) and in parts (parts.py).
model_dir.py reads a version, convert.py converts it to other runtimes, deployment.py writes configs
of TF Serving, client.py sends requests. The subfolder `server` is a server for machines without TF
Serving.
"""
