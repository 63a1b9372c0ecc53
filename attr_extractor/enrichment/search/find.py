"""Find the products nearest to a photo and format them for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attr_extractor.enrichment.search import embed, filters
from attr_extractor.enrichment.search.index import Found, Index
from attr_extractor.errors import InputError, require_file
from attr_extractor.serving import model_dir


def find(
    index: str | Path,
    model: str | Path,
    photo: str | Path,
    count: int = 10,
    conditions: Sequence[str] = (),
) -> str:
    """Return the products nearest to a photo, as a table in text form.

    Args:
      index: folder of the index.
      model: the exported model that the index was built with.
      photo: the photo file.
      count: maximum number of products.
      conditions: filters, see `filters.parse`; the table shows their attributes.

    Raises:
      InputError: if the index, the model, the photo or a filter cannot be used.
    """
    require_file(photo, "the photo")
    opened = Index(index, model_dir.describe(model))
    chosen = filters.parse_all(conditions, opened.schema)
    found = opened.nearest(embed.Embedder(model).file(photo), count, chosen)
    return lines(found, list(dict.fromkeys(each.attribute for each in chosen)))


def lines(found: Sequence[Found], attributes: Sequence[str]) -> str:
    """Return a tab-separated table: rank, product, similarity, photo and the attributes."""
    if not found:
        return "no product matches the filters"
    head = ["rank", "product_id", "similarity", "image", *attributes]
    rows = [
        [str(rank), each.product_id, f"{each.similarity:.4f}", each.image]
        + [each.seller[name] for name in attributes]
        for rank, each in enumerate(found, 1)
    ]
    return "\n".join("\t".join(map(_one_line, row)) for row in [head, *rows])


def require_one(photo: str | None, port: int | None, measure: bool) -> None:
    """Raise InputError unless exactly one of the three flags is set."""
    if (photo is not None) + (port is not None) + measure != 1:
        raise InputError("pass exactly one of --photo, --port and --measure")


def _one_line(cell: str) -> str:
    return " ".join(cell.split())
