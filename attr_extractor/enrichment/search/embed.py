"""Embeddings of photos, from the `embedding` signature of an exported model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from attr_extractor.catalogue import photos
from attr_extractor.errors import InputError
from attr_extractor.serving import model_dir


class Embedder:
    """A loaded model that computes embeddings."""

    def __init__(self, model: str | Path):
        """Load a model; raise InputError if it is missing or an older export without embeddings."""
        self.model = model_dir.load(model)
        if "embedding" not in self.model.signatures:
            raise InputError(
                f"{self.model.path}: an older export without embeddings; export the run again"
            )
        self._signature = self.model.signatures["embedding"]

    def stored(self, encoded: Sequence[bytes]) -> tuple[np.ndarray, list[str]]:
        """Return embeddings of stored photos, float32 [N, D] of unit length, and an error each.

        The error is "" for a readable photo.

        Raises:
          InputError: if the model returns an embedding that is not finite.
        """
        outputs = self._signature(image_bytes=tf.constant(encoded))
        embedding = outputs["embedding"].numpy()
        if not np.isfinite(embedding).all():
            raise InputError(f"{self.model.path}: the model's embeddings are not finite")
        return embedding, [error.decode() for error in outputs["error"].numpy()]

    def raw(self, data: bytes) -> np.ndarray:
        """Return the embedding float32 [D] of a raw file; raise PhotoError if it is unreadable."""
        photo = photos.store(data, self.model.facts.photo_short_side)
        embedding, (error,) = self.stored([photo.encoded])
        if error:
            raise photos.PhotoError(error)
        return embedding[0]

    def file(self, path: str | Path) -> np.ndarray:
        """Return the embedding float32 [D] of a photo on disk; raise InputError if unreadable."""
        path = Path(path)
        try:
            return self.raw(photos.read_raw(path.parent, path.name))
        except photos.PhotoError as error:
            raise InputError(f"{path}: the photo cannot be read: {error}") from error
