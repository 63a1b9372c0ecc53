"""Photos -> embeddings, by the `embedding` signature of an exported model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from attr_extractor.catalogue import photos
from attr_extractor.errors import InputError
from attr_extractor.serving import model_dir


class Embedder:
    """A loaded model, asked for embeddings only."""

    def __init__(self, model: str | Path):
        """Raises InputError where there is no exported model, or an older one without them."""
        self.model = model_dir.load(model)
        if "embedding" not in self.model.signatures:
            raise InputError(f"{self.model.path}: an older export; export the run again")
        self._signature = self.model.signatures["embedding"]

    def stored(self, encoded: Sequence[bytes]) -> tuple[np.ndarray, list[str]]:
        """Embeddings of stored photos: float32 [N, D] of length 1, and why one could not be read.

        Raises:
          InputError: the model gave a number that is none.
        """
        outputs = self._signature(image_bytes=tf.constant(encoded))
        embedding = outputs["embedding"].numpy()
        if not np.isfinite(embedding).all():
            raise InputError(f"{self.model.path}: the model's embeddings are not finite")
        return embedding, [error.decode() for error in outputs["error"].numpy()]

    def raw(self, data: bytes) -> np.ndarray:
        """The embedding float32 [D] of a raw file; raises PhotoError where it cannot be read."""
        photo = photos.store(data, self.model.facts.photo_short_side)
        embedding, (error,) = self.stored([photo.encoded])
        if error:
            raise photos.PhotoError(error)
        return embedding[0]

    def file(self, path: str | Path) -> np.ndarray:
        """The embedding float32 [D] of a photo on disk; raises InputError with the reason."""
        path = Path(path)
        try:
            return self.raw(photos.read_raw(path.parent, path.name))
        except photos.PhotoError as error:
            raise InputError(f"{path}: the photo cannot be read: {error}") from error
