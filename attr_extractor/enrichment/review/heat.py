"""Heat maps of a trained run, drawn over the photo as the page shows it."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from attr_extractor.catalogue import photos
from attr_extractor.enrichment.pictures import SHORT_SIDE, photo_of
from attr_extractor.evaluation.explain import heat_map
from attr_extractor.evaluation.explain.explainer import Explainer
from attr_extractor.records import pixels
from attr_extractor.schema import Schema, require_same
from attr_extractor.training.run_dir import RunDir

_KEPT = 64  # pictures in memory


class Heat:
    """Heat maps of a run, computed on first use; not thread-safe."""

    def __init__(self, run_dir: str | Path, schema: Schema, image_root: str | Path):
        """Read a run; raise InputError if it is not trained or is of another schema."""
        run = RunDir.read(run_dir)
        require_same(run.schema.fingerprint, schema, f"{run.path}: the run directory")
        self._short_side = run.origin.photo_short_side
        self._explainer = Explainer(run)
        self._image_root = image_root
        self._drawn = functools.lru_cache(_KEPT)(self._draw)

    def drawn(self, image: str, box: str, index: int, attribute: str, value: str) -> bytes | None:
        """Return a JPEG of the product with the heat map of a value; None without evidence.

        Raises:
          PhotoError: if the photo cannot be read.
          InputError: if there is no such attribute or value.
        """
        return self._drawn(*photo_of(image, box, index), attribute, value)

    def _draw(self, path: str, box: photos.Box | None, attribute: str, value: str) -> bytes | None:
        raw = photos.read_raw(self._image_root, path)
        stored = photos.store(raw, self._short_side, box)  # as in the training records
        photo = pixels.decode_jpeg(tf.constant(stored.encoded)).numpy()
        heat = self._explainer.heat(photo, attribute, value)  # [H, W]
        if not heat.any():
            return None
        shown = photos.store(raw, SHORT_SIDE, box).pixels
        fitted = Image.fromarray(heat).resize(shown.size, Image.Resampling.BILINEAR)
        picture = heat_map.overlay(np.asarray(shown), np.asarray(fitted))
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "JPEG", quality=photos.JPEG_QUALITY)
        return out.getvalue()
