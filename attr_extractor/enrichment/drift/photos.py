"""Photos of one side: original files, appearance in four numbers, and model outputs."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from attr_extractor.catalogue import photos
from attr_extractor.enrichment.drift.delivery import ListedPhoto
from attr_extractor.errors import InputError
from attr_extractor.records import pixels
from attr_extractor.serving.model_dir import ExportedModel

BATCH = 32
APPEARANCE = {
    "Brightness": "mean luma, 0 black to 1 white",
    "Contrast": "standard deviation of the luma",
    "Colour": "mean difference of the largest and the smallest of red, green and blue, 0 for grey",
    "Sharpness": "mean difference of neighbouring pixels, divided by the contrast",
}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG


@dataclass
class DeliveredPhotos:
    """Sampled photos of the delivery; the first three lists are of the readable photos."""

    stored: list[tuple[ListedPhoto, bytes]] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)  # height, width, bytes
    rejects: list[str] = field(default_factory=list)  # unreadable photos with reasons


@dataclass(frozen=True)
class PhotoFeatures:
    """Features of N photos of different products."""

    appearance: np.ndarray  # float64 [N, 4], see APPEARANCE
    scores: np.ndarray  # float32 [N, V]; [0, 0] without a model, as is the embedding
    embedding: np.ndarray  # float32 [N, D] of length 1


def read_photos(image_root: str, sample: Sequence[ListedPhoto], short_side: int) -> DeliveredPhotos:
    """Read photos of the delivery, and store them as a build does.

    Raises:
      InputError: if no photo is readable.
    """
    delivered = DeliveredPhotos()

    def store(photo: ListedPhoto) -> tuple[photos.StoredPhoto, int] | photos.PhotoError:
        try:
            raw = photos.read_raw(image_root, photo.image)
            return photos.store(raw, short_side, photos.parse_box(photo.box)), len(raw)
        except photos.PhotoError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in _batches(sample, "reading photos"):
            for photo, result in zip(batch, pool.map(store, batch)):
                if isinstance(result, photos.PhotoError):
                    delivered.rejects.append(f"{photo.image}: {result}")
                    continue
                stored, size = result
                delivered.stored.append((photo, stored.encoded))
                delivered.formats.append(stored.format)
                delivered.sizes.append((stored.raw_height, stored.raw_width, size))
    if not delivered.stored:
        raise InputError(
            f"{image_root}: none of {len(sample):,} photos could be read; check --image_root. "
            f"First error: {delivered.rejects[0]}"
        )
    return delivered


def compute_features(
    stored: Sequence[bytes], model: ExportedModel | None, name: str
) -> PhotoFeatures:
    """Compute the features of stored photos, at least one; the progress bar shows `name`.

    Raises:
      InputError: if the model returns a NaN or an infinity.
    """
    appearances: list[np.ndarray] = []
    outputs: list[tuple[np.ndarray, np.ndarray]] = []
    for batch in _batches(stored, name):
        appearances += [appearance(encoded) for encoded in batch]
        if model is not None:
            outputs.append(_model_outputs(model, batch))
    if not outputs:
        none = np.zeros([0, 0], np.float32)
        return PhotoFeatures(np.stack(appearances), none, none)
    scores, embedding = (np.concatenate(batches) for batches in zip(*outputs))
    return PhotoFeatures(np.stack(appearances), scores, embedding)


def appearance(encoded: bytes) -> np.ndarray:
    """Return float64 [4], the APPEARANCE of a stored JPEG photo."""
    with Image.open(io.BytesIO(encoded)) as image:
        rgb = np.asarray(image.convert("RGB"), np.float32) / 255
    luma = rgb @ _LUMA
    steps = np.mean([_mean_step(np.diff(luma, axis=axis)) for axis in (0, 1)])
    contrast = float(luma.std())
    colour = float((rgb.max(axis=2) - rgb.min(axis=2)).mean())
    return np.array([luma.mean(), contrast, colour, steps / max(contrast, 1 / 255)])


def _mean_step(steps: np.ndarray) -> float:
    return float(np.abs(steps).mean()) if steps.size else 0.0  # a photo can be one pixel wide


def _model_outputs(model: ExportedModel, stored: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return scores float32 [N, V] and embeddings float32 [N, D]."""
    side, square = model.facts.image_size, model.facts.square
    batch = tf.stack([pixels.from_stored(encoded, side, square) for encoded in stored])
    scores, embedding = (output.numpy() for output in model.network(batch))
    if not (np.isfinite(scores).all() and np.isfinite(embedding).all()):
        raise InputError(f"{model.path}: the model's outputs are not finite")
    return scores, embedding


def _batches(items: Sequence, name: str) -> Iterator[Sequence]:
    with tqdm(total=len(items), unit="photo", desc=name) as progress:
        for start in range(0, len(items), BATCH):
            yield items[start : start + BATCH]
            progress.update(len(items[start : start + BATCH]))
