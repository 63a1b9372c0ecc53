"""Serves an exported model over TF Serving's REST and gRPC APIs, where TF Serving is not at hand.

Picks up new versions in the folder; /metrics, /healthz, /readyz; SIGTERM drains.

Example:
  python tools/serve.py --model=shop/models/shop --port=8501 --grpc_port=8500
"""

from absl import flags

from attr_extractor import errors

F = flags.FLAGS
flags.DEFINE_string("model", None, "Folder of version folders.", required=True)
flags.DEFINE_string("name", "", "The model's name in requests. Default: the folder's.")
flags.DEFINE_string("host", "127.0.0.1", "0.0.0.0 lets other machines in; nobody is asked who.")
flags.DEFINE_integer("port", 8501, "REST.", 0, 65535)
flags.DEFINE_integer("grpc_port", None, "gRPC. Default: none.", 0, 65535)
flags.DEFINE_integer("batch_size", 32, "Photos of one run, and at most of one request.", 1)
flags.DEFINE_float("batch_delay_ms", 2.0, "How long a photo waits for others.", 0.0)
flags.DEFINE_integer("max_waiting", 1024, "Photos that may wait; then 429.", 1)
flags.DEFINE_float("max_megapixels", 25.0, "Of one photo.", 0.01)
flags.DEFINE_integer("max_body_mb", 64, "Of one request.", 1)
flags.DEFINE_float("body_seconds", 60.0, "In which a request's body has to arrive.", 1.0)
flags.DEFINE_float("poll_seconds", 1.0, "Between looks for a new version.", 0.05)


def main() -> None:
    with errors.extra("serving"):
        from attr_extractor.serving import batching, http_server, server
    options = server.Options(
        *(F.model, F.name, F.host, F.port, F.grpc_port),
        batching.Limits(F.batch_size, F.batch_delay_ms / 1e3, F.max_waiting, F.max_megapixels),
        max_body_bytes=F.max_body_mb * 2**20,
        poll_seconds=F.poll_seconds,
        http=http_server.HttpLimits(body_seconds=F.body_seconds),
    )
    server.run(options)


if __name__ == "__main__":
    errors.run_program(main)
