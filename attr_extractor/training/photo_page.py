"""Page of training photos as the network receives them, with their labels below."""

from __future__ import annotations

import math
from typing import Union

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attr_extractor import labels
from attr_extractor.config import AugmentationConfig
from attr_extractor.schema import Schema

PHOTOS, COLUMNS = 16, 4
WIDTH = 192  # minimum width of a photo on the page, in pixels; smaller ones are enlarged
FONT_SIZE, LINE, MARGIN = 12, 15, 6  # pixels


Font = Union[ImageFont.FreeTypeFont, ImageFont.ImageFont]


def draw(photos: np.ndarray, codes: np.ndarray, schema: Schema) -> Image.Image:
    """Draw the first photos of a batch in rows of four.

    Args:
      photos: float [B, H, W, 3] in 0 .. 255.
      codes: int8 [B, V], their labels.
    """
    factor = math.ceil(WIDTH / photos.shape[2])  # an integer, so that pixel values do not change
    side = factor * photos.shape[2]
    font = ImageFont.load_default(FONT_SIZE)
    captions = [_caption(states, schema, side, font) for states in codes[:PHOTOS]]
    cell = (side + MARGIN, factor * photos.shape[1] + MARGIN + LINE * max(map(len, captions)))
    rows = math.ceil(len(captions) / COLUMNS)
    page = Image.new("RGB", (cell[0] * min(COLUMNS, len(captions)), cell[1] * rows), "white")
    pen = ImageDraw.Draw(page)
    for i, (photo, lines) in enumerate(zip(photos, captions)):
        x, y = (i % COLUMNS) * cell[0], (i // COLUMNS) * cell[1]
        image = Image.fromarray(np.clip(np.rint(photo), 0, 255).astype(np.uint8))
        page.paste(image.resize((side, factor * image.height), Image.Resampling.NEAREST), (x, y))
        for k, line in enumerate(lines):
            pen.text((x, y + factor * image.height + LINE * k), line, fill="black", font=font)
    return page


def describe(config: AugmentationConfig) -> str:
    """Return the page's description, which names the augmentation of the photos."""
    if not config.enabled:
        return "The first training batch; augmentation is off."
    off = {"enabled"} if config.rand_operations else {"enabled", "rand_magnitude"}
    settings = config.model_dump(exclude=off)
    parts = ", ".join(f"{name} {value}" for name, value in settings.items() if value)
    return f"The first training batch as the network gets it, augmented: {parts}."


def _caption(states: np.ndarray, schema: Schema, width: int, font: Font) -> list[str]:
    """Return one line for every attribute that has values, truncated to a width in pixels."""
    lines = []
    for name, values in labels.decode(schema, states).items():
        line = f"{name}: {', '.join(values)}" if values else ""
        while font.getlength(line) > width:
            line = line[:-2].rstrip("…") + "…"
        lines += [line] * bool(line)
    return lines
