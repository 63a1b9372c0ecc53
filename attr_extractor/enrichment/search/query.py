"""Search with a photo: its embedding, and the nearest products as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from attr_extractor import storage
from attr_extractor.catalogue import photos
from attr_extractor.enrichment.search.index import Filter, Hit, Index
from attr_extractor.errors import InputError, require_file
from attr_extractor.serving import model_dir


class Embedder:
    """A loaded model that computes embeddings."""

    def __init__(self, model: str | Path):
        """Load a model; raise InputError if it is missing or an older export."""
        self.model = model_dir.load(model)
        self._forward = self.model.of_stored()

    def stored(self, encoded: Sequence[bytes]) -> tuple[np.ndarray, list[str]]:
        """Return embeddings of stored photos, float32 [N, D] of unit length, and an error each.

        The error is "" for a readable photo.

        Raises:
          InputError: if the model returns an embedding that is not finite.
        """
        _, embeddings, errors = self._forward(tf.constant(encoded))
        embedding = embeddings.numpy()
        if not np.isfinite(embedding).all():
            raise InputError(f"{self.model.path}: the model's embeddings are not finite")
        return embedding, [error.decode() for error in errors.numpy()]

    def raw(self, data: bytes) -> np.ndarray:
        """Return the embedding float32 [D] of a raw file; raise PhotoError if it is unreadable."""
        photo = photos.store(data, self.model.facts.photo_short_side)
        embedding, (error,) = self.stored([photo.encoded])
        if error:
            raise photos.PhotoError(error)
        return embedding[0]

    def file(self, path: str | Path) -> np.ndarray:
        """Return the embedding float32 [D] of a photo's file; raise InputError if unreadable."""
        try:
            raw = photos.read_raw(storage.parent(path), storage.file_name(path))
            return self.raw(raw)
        except photos.PhotoError as error:
            raise InputError(f"{path}: the photo cannot be read: {error}") from error


def nearest_as_text(
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
      conditions: filters, see `Filter.parse`; the table shows their attributes.

    Raises:
      InputError: if the index, the model, the photo or a filter cannot be used.
    """
    if not storage.is_remote(photo):
        require_file(photo, "the photo")
    opened = Index(index, model_dir.describe(model))
    filters = [Filter.parse(text, opened.schema) for text in conditions]
    hits = opened.nearest(Embedder(model).file(photo), count, filters)
    return as_text(hits, list(dict.fromkeys(each.attribute for each in filters)))


def as_text(hits: Sequence[Hit], attributes: Sequence[str]) -> str:
    """Return a tab-separated table: rank, product, similarity, photo and the attributes."""
    if not hits:
        return "no product matches the filters"
    head = ["rank", "product_id", "similarity", "image", *attributes]
    rows = [
        [str(rank), hit.product_id, f"{hit.similarity:.4f}", hit.image]
        + [hit.seller[name] for name in attributes]
        for rank, hit in enumerate(hits, 1)
    ]
    return "\n".join("\t".join(map(_one_line, row)) for row in [head, *rows])


def _one_line(cell: str) -> str:
    return " ".join(cell.split())
