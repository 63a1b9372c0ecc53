"""The local server: TF Serving's REST and gRPC APIs for machines without TF Serving.

A request passes rest.py or grpc_service.py, is checked by tensors.py, and waits in batching.py for
a run of the graph (loaded.py) of the current version (versions.py).
"""
