r"""Serves a page on which people decide what seller and model disagree on.

Example:
  python tools/review.py --cells=cells.parquet --schema=schema.yaml --image_root=shop \
      --decisions=decisions.sqlite
"""

from absl import flags

from attr_extractor import errors

F = flags.FLAGS
flags.DEFINE_string("cells", None, "What predict.py wrote with --cells.", required=True)
flags.DEFINE_string("schema", None, "The schema: YAML.")
flags.DEFINE_string("model", None, "Instead: the exported model, with its own thresholds.")
flags.DEFINE_string("image_root", None, "Where image paths start.", required=True)
flags.DEFINE_string("decisions", None, "The SQLite file; made if need be.", required=True)
flags.DEFINE_string("run_dir", None, "The trained run, for heat maps. Default: none.")
flags.DEFINE_string("host", "127.0.0.1", "0.0.0.0 lets other machines in; needs --token_file.")
flags.DEFINE_integer("port", 8600, "0: any that is free.", 0, 65535)
flags.DEFINE_string("token_file", None, "Holds the token; who opens ?token= once may review.")
flags.DEFINE_integer("most", 100_000, "Cells in the queue, those most worth a look.", 1)
flags.DEFINE_float("lease_minutes", 10.0, "How long a reviewer has an item alone.", 0.01)


def main() -> None:
    with errors.extra("review"):
        from attr_extractor.review import access, server
    token = "" if F.token_file is None else access.read_token(F.token_file)
    paths = (F.cells, F.decisions, F.image_root, F.schema, F.model, F.run_dir)
    server.run(
        server.Options(*paths, F.host, F.port, token, F.most, 60 * F.lease_minutes),
    )


if __name__ == "__main__":
    errors.run_program(main)
