"""Properties of the photos of one side: as files, as pixels and as model outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from attr_extractor.catalogue import photos
from attr_extractor.enrichment.drift import looks
from attr_extractor.enrichment.drift.delivery import Photo
from attr_extractor.errors import InputError
from attr_extractor.records import pixels
from attr_extractor.serving import model_dir

BATCH = 32
_NONE = np.zeros([0, 0], np.float32)


@dataclass
class Files:
    """Photos of the delivery: properties of the original files, and the stored photos."""

    stored: list[tuple[Photo, bytes]] = field(default_factory=list)  # readable photos
    formats: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)  # height, width, bytes
    rejects: list[str] = field(default_factory=list)  # unreadable photos with reasons


@dataclass
class Views:
    """N photos of different products."""

    looks: np.ndarray  # float64 [N, len(looks.FIGURES)]
    scores: np.ndarray  # float32 [N, V]; [0, 0] without a model, as is the embedding
    embedding: np.ndarray  # float32 [N, D] of length 1


class Asker:
    """An exported model that computes scores and embeddings of stored photos."""

    def __init__(self, model: model_dir.ExportedModel):
        """Raise InputError if the exported model is of an older format."""
        self._network, self._facts, self._path = model.network, model.facts, model.path

    def ask(self, stored: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return scores float32 [N, V] and embeddings float32 [N, D].

        Raises:
          InputError: if the model returns a NaN or an infinity.
        """
        side, square = self._facts.image_size, self._facts.square
        scores, embedding = self._network(
            tf.stack([pixels.from_stored(encoded, side, square) for encoded in stored])
        )
        for found in (scores, embedding):
            if not np.isfinite(found.numpy()).all():
                raise InputError(f"{self._path}: the model's outputs are not finite")
        return scores.numpy(), embedding.numpy()


def read(image_root: str, sample: Sequence[Photo], short_side: int) -> Files:
    """Read photos of the delivery, and store them as a build does.

    Raises:
      InputError: if no photo is readable.
    """
    found = Files()

    def store(photo: Photo) -> tuple[photos.StoredPhoto, int] | photos.PhotoError:
        try:
            raw = photos.read_raw(image_root, photo.image)
            return photos.store(raw, short_side, photos.parse_box(photo.box)), len(raw)
        except photos.PhotoError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in _batches(sample, "reading photos"):
            for photo, result in zip(batch, pool.map(store, batch)):
                if isinstance(result, photos.PhotoError):
                    found.rejects.append(f"{photo.image}: {result}")
                    continue
                stored, size = result
                found.stored.append((photo, stored.encoded))
                found.formats.append(stored.format)
                found.sizes.append((stored.raw_height, stored.raw_width, size))
    if not found.stored:
        raise InputError(
            f"{image_root}: none of {len(sample):,} photos could be read; check --image_root. "
            f"First error: {found.rejects[0]}"
        )
    return found


def view(stored: Sequence[bytes], asker: Asker | None, name: str) -> Views:
    """Inspect stored photos, at least one; `name` is shown in the progress bar."""
    seen, scores, embeddings = [], [_NONE], [_NONE]
    for batch in _batches(stored, name):
        seen += [looks.of_photo(encoded) for encoded in batch]
        if asker is not None:
            of_batch = asker.ask(batch)
            scores.append(of_batch[0])
            embeddings.append(of_batch[1])
    return Views(np.stack(seen), *(np.concatenate(e[1:] or e) for e in (scores, embeddings)))


def _batches(items: Sequence, name: str) -> Iterator[Sequence]:
    with tqdm(total=len(items), unit="photo", desc=name) as progress:
        for start in range(0, len(items), BATCH):
            yield items[start : start + BATCH]
            progress.update(len(items[start : start + BATCH]))
