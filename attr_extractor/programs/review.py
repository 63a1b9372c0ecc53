r"""Serve a review page for cells on which seller and model disagree.

Example:
  attr-extractor review --cells=cells.parquet --schema=schema.yaml --image_root=shop \
      --decisions=decisions.sqlite
"""

from absl import flags

from attr_extractor import errors

F = flags.FLAGS
flags.DEFINE_string("cells", None, "Cells file of attr-extractor predict --cells.", required=True)
flags.DEFINE_string("schema", None, "Schema file (YAML).")
flags.DEFINE_string("model", None, "Exported model with its thresholds, instead of --schema.")
flags.DEFINE_string("image_root", None, "Root of image paths.", required=True)
flags.DEFINE_string("decisions", None, "SQLite file; created if missing.", required=True)
flags.DEFINE_string("run_dir", None, "Trained run, for heat maps. Default: none.")
flags.DEFINE_string("host", "127.0.0.1", "0.0.0.0 accepts other machines; requires --token_file.")
flags.DEFINE_integer("port", 8600, "0: any free port.", 0, 65535)
flags.DEFINE_string("token_file", None, "File with the token; opening ?token= once grants access.")
flags.DEFINE_integer("most", 100_000, "Maximum cells in the queue, by priority.", 1)
flags.DEFINE_float("lease_minutes", 10.0, "Minutes that an item is reserved for a reviewer.", 0.01)


def main() -> None:
    with errors.extra("review"):
        from attr_extractor.enrichment.review import server
        from attr_extractor.web import access
    token = "" if F.token_file is None else access.read_token(F.token_file)
    paths = (F.cells, F.decisions, F.image_root, F.schema, F.model, F.run_dir)
    server.run(
        server.ReviewOptions(*paths, F.host, F.port, token, F.most, 60 * F.lease_minutes),
    )
