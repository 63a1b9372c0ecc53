"""Explanations of photo files: a picture per value, one of the attention heads, and a page.

A photo is read as in serving: step (a) by catalogue.photos, step (b) by records.pixels.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from attr_extractor import storage, working_copy
from attr_extractor.catalogue import photos
from attr_extractor.errors import InputError
from attr_extractor.evaluation.explain import heat_map
from attr_extractor.evaluation.explain.explainer import Explainer, Explanation, find_value
from attr_extractor.evaluation.explain.told import as_text
from attr_extractor.records import pixels
from attr_extractor.training.run_dir import RunDir
from attr_extractor.web import pages

BATCH = 16  # photos
HEADS_PER_ROW = 4
JPEG_QUALITY = 90


class Picture(NamedTuple):
    """A picture of the page."""

    jpeg: bytes
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class ExplainedPhoto:
    """A photo file and its pictures."""

    name: str
    pictures: list[Picture]


def explain_photos(
    run_dir: str | Path,
    images: Sequence[str],
    attribute: str | None = None,
    value: str | None = None,
    output_dir: str | Path | None = None,
    known: Mapping[str, str] | None = None,
    text: str = "",
) -> tuple[str | Path, int]:
    """Write pictures and `index.html`, replacing those of an earlier call.

    Args:
      images: raw photo files, as sellers provide them.
      attribute: see `Explainer.explain`.
      value: see `Explainer.explain`.
      output_dir: by default `explain` in the run directory.
      known: known cells of the product that all photos show, by attribute.
      text: of that product.

    Returns:
      The path of the page and the number of pictures of values.

    Raises:
      InputError: if there is no trained run, the attribute, the value or a known cell is unknown,
        the run does not read what is given, or a photo is unreadable.
    """
    run = RunDir.read(run_dir)
    find_value(run.schema, attribute, value)  # before the network is built
    if not images:
        raise InputError("no photo given")
    explainer = Explainer(run)
    told = explainer.told(known, text) if (known := known or {}) or text else None
    place = output_dir or storage.join(os.fspath(run_dir), "explain")
    with working_copy.owned(place, "the folder of the pictures") as folder:
        explained: list[ExplainedPhoto] = []
        count = 0
        for start in range(0, len(images), BATCH):
            names = images[start : start + BATCH]
            batch = [read_photo(name, run.origin.photo_short_side) for name in names]
            explanations = explainer.explain(batch, attribute, value, told)
            attended = explainer.attended(batch) if explainer.has_attention else []
            for i, (name, photo) in enumerate(zip(names, batch)):
                prefix = f"{start + i + 1:03d}-{_plain(Path(storage.file_name(name)).stem)}"
                pictures = [Picture(_jpeg(Image.fromarray(photo)), "the photo")]
                for each in explanations[i]:
                    of = run.schema[each.attribute]
                    picture = _picture(of.title(), photo, each)
                    which = f"{of.values.index(each.value)}-{_plain(each.value)}"
                    (folder / f"{prefix}.{each.attribute}.{which}.jpg").write_bytes(picture.jpeg)
                    pictures.append(picture)
                for heads in attended[i : i + 1]:
                    picture = _heads(photo, heads)
                    (folder / f"{prefix}.attention.jpg").write_bytes(picture.jpeg)
                    pictures.append(picture)
                explained.append(ExplainedPhoto(name, pictures))
                count += len(explanations[i])
        title = f"{run.config.name}: where the answers come from"
        page = pages.render("evaluation/explain.html", title=title, photos=explained)
        storage.write(folder / "index.html", page.encode())
        page = storage.join(place, "index.html")
        return page if storage.is_remote(page) else Path(page), count


def read_photo(path: str, short_side: int) -> np.ndarray:
    """Read a raw file and return the stored photo, uint8 [H, W, 3].

    Raises:
      InputError: if the file is not a readable photo.
    """
    full = path if storage.is_remote(path) or "://" in path else os.path.realpath(path)
    try:
        stored = photos.store(photos.read_raw(os.path.dirname(full), full), short_side)
    except photos.PhotoError as error:
        raise InputError(f"{path}: {error}") from error
    return pixels.decode_jpeg(tf.constant(stored.encoded)).numpy()


def _picture(title: str, photo: np.ndarray, each: Explanation) -> Picture:
    """Return the photo with the heat of one value over it and a caption below."""
    answer = f"{title}: {each.value}"
    score = f"{each.score:.3f}" + ("" if each.heat.any() else " (no evidence)")
    shares = as_text(each.shares)
    told = [f"told by {shares}"] if shares else []
    image = heat_map.with_caption(heat_map.overlay(photo, each.heat), [answer, score, *told])
    return Picture(_jpeg(image), ", ".join([answer, score, *told]))


def _heads(photo: np.ndarray, heads: np.ndarray) -> Picture:
    """Return the attention maps float [heads, H, W] of one photo side by side."""
    images = [
        heat_map.with_caption(heat_map.overlay(photo, heat), [f"head {i + 1}"])
        for i, heat in enumerate(heads)
    ]
    sheet = heat_map.side_by_side(images, HEADS_PER_ROW)
    return Picture(_jpeg(sheet), f"Attention maps of {len(heads)} heads", wide=True)


def _plain(text: str) -> str:
    return re.sub(r"[^\w-]+", "_", text)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
