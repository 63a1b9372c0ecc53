"""Serve an exported model with TF Serving's REST and gRPC APIs, if TF Serving is not available.

Loads new versions from the folder; offers /metrics, /healthz, /readyz; SIGTERM drains.

Example:
  attr-extractor serve --model=shop/models/shop --port=8501 --grpc_port=8500
"""

from absl import flags

from attr_extractor import errors

F = flags.FLAGS
flags.DEFINE_string("model", None, "Model folder with version subfolders.", required=True)
flags.DEFINE_string("name", "", "Model name in requests. Default: name of the folder.")
flags.DEFINE_string("host", "127.0.0.1", "0.0.0.0 accepts other machines; no authentication.")
flags.DEFINE_integer("port", 8501, "REST port.", 0, 65535)
flags.DEFINE_integer("grpc_port", None, "gRPC port. Default: no gRPC.", 0, 65535)
flags.DEFINE_integer("batch_size", 32, "Maximum photos of a batch and of a request.", 1)
flags.DEFINE_float("batch_delay_ms", 2.0, "Milliseconds that a photo waits for a batch.", 0.0)
flags.DEFINE_integer("max_waiting", 1024, "Maximum photos in the queue; beyond it: 429.", 1)
flags.DEFINE_float("max_megapixels", 25.0, "Maximum size of a photo.", 0.01)
flags.DEFINE_integer("max_body_mb", 64, "Maximum size of a request body.", 1)
flags.DEFINE_float("body_seconds", 60.0, "Timeout for receiving a request body.", 1.0)
flags.DEFINE_float("poll_seconds", 1.0, "Seconds between checks for new versions.", 0.05)


def main() -> None:
    with errors.extra("serving"):
        from attr_extractor.serving.server import batching, server
        from attr_extractor.web import http_server
    options = server.ServeOptions(
        *(F.model, F.name, F.host, F.port, F.grpc_port),
        batching.Limits(F.batch_size, F.batch_delay_ms / 1e3, F.max_waiting, F.max_megapixels),
        max_body_bytes=F.max_body_mb * 2**20,
        poll_seconds=F.poll_seconds,
        http=http_server.HttpLimits(body_seconds=F.body_seconds),
    )
    server.run(options)
