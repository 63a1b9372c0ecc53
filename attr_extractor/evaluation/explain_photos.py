"""Explanations of photo files: a picture per value, one of the attention heads, and a page.

A photo is read as in serving: step (a) by catalogue.photos, step (b) by records.pixels.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from attr_extractor import html_page, ownership, storage
from attr_extractor.catalogue import photos
from attr_extractor.errors import InputError
from attr_extractor.evaluation.explain import heat_map
from attr_extractor.evaluation.explain.explainer import Explainer, Explanation, find_value
from attr_extractor.html_page import Markup, escape
from attr_extractor.records import pixels
from attr_extractor.training.run_dir import RunDir

BATCH = 16  # photos
HEADS_PER_ROW = 4
JPEG_QUALITY = 90
STYLE = """
h2 { overflow-wrap: anywhere }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 15rem)); gap: 1rem }
figure { margin: 0 } figure img { width: 100%; border-radius: .3rem }
figure.wide { grid-column: 1 / -1; max-width: 62rem } figcaption { overflow-wrap: anywhere }
"""


def explain_photos(
    run_dir: str | Path,
    images: Sequence[str],
    attribute: str | None = None,
    value: str | None = None,
    output_dir: str | Path | None = None,
) -> tuple[Path, int]:
    """Write pictures and `index.html`, replacing those of an earlier call.

    Args:
      images: raw photo files, as sellers provide them.
      attribute: see `Explainer.explain`.
      value: see `Explainer.explain`.
      output_dir: by default `explain` in the run directory.

    Returns:
      The path of the page and the number of pictures of values.

    Raises:
      InputError: if there is no trained run, the attribute or value is unknown, or a photo is
        unreadable.
    """
    run = RunDir.read(run_dir)
    find_value(run.schema, attribute, value)  # before the network is built
    if not images:
        raise InputError("no photo given")
    explainer = Explainer(run)
    folder = Path(output_dir or run.path / "explain")
    with ownership.folder(folder, "the folder of the pictures"):
        sections, count = [], 0
        for start in range(0, len(images), BATCH):
            names = images[start : start + BATCH]
            batch = [read_photo(name, run.origin.photo_short_side) for name in names]
            explained = explainer.explain(batch, attribute, value)
            attended = explainer.attended(batch) if explainer.has_attention else []
            for i, (name, photo) in enumerate(zip(names, batch)):
                prefix = f"{start + i + 1:03d}-{_plain(Path(name).stem)}"
                figures = [_figure(_jpeg(Image.fromarray(photo)), "the photo")]
                for each in explained[i]:
                    picture = _picture(explainer, photo, each)
                    of = run.schema[each.attribute]
                    which = f"{of.values.index(each.value)}-{_plain(each.value)}"
                    _write(folder / f"{prefix}.{each.attribute}.{which}.jpg", picture)
                    text = f"{of.title()}: {each.value}, {each.score:.3f}{_remark(each)}"
                    figures.append(_figure(_jpeg(picture), text))
                for heads in attended[i : i + 1]:
                    page = _heads(photo, heads)
                    _write(folder / f"{prefix}.attention.jpg", page)
                    text = f"Attention maps of {len(heads)} heads"
                    figures.append(_figure(_jpeg(page), text, " class=wide"))
                body = Markup("".join(figures))
                sections.append(f"<h2>{escape(name)}</h2><div class=photos>{body}</div>")
                count += len(explained[i])
        title = f"{run.config.name}: where the answers come from"
        legend = (
            "<p>Red marks strong evidence for a value, blue weak evidence, no colour none "
            "(Grad-CAM of the value's logit; each picture is scaled separately).</p>"
        )
        text = f"<h1>{escape(title)}</h1>{legend}{''.join(sections)}"
        storage.write(folder / "index.html", html_page.page(title, text, STYLE).encode())
        return folder / "index.html", count


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


def _picture(explainer: Explainer, photo: np.ndarray, each: Explanation) -> Image.Image:
    lines = [f"{explainer.schema[each.attribute].title()}: {each.value}", f"{each.score:.3f}"]
    lines[1] += _remark(each)
    return heat_map.with_caption(heat_map.overlay(photo, each.heat), lines)


def _remark(each: Explanation) -> str:
    return "" if each.heat.any() else " (no evidence)"


def _heads(photo: np.ndarray, heads: np.ndarray) -> Image.Image:
    pictures = [
        heat_map.with_caption(heat_map.overlay(photo, heat), [f"head {i + 1}"])
        for i, heat in enumerate(heads)
    ]
    return heat_map.side_by_side(pictures, HEADS_PER_ROW)


def _plain(text: str) -> str:
    return re.sub(r"[^\w-]+", "_", text)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _write(path: Path, image: Image.Image) -> None:
    path.write_bytes(_jpeg(image))


def _figure(jpeg: bytes, caption: str, css: str = "") -> str:
    text = escape(caption)
    source = html_page.data_url(jpeg)
    return f"<figure{css}><img src='{source}' alt='{text}'><figcaption>{text}</figcaption></figure>"
