"""Heat maps as pictures: mapped back to the photo, and drawn over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attr_extractor.config import Square

# blue, cyan, yellow, red, as in figure 6 of the paper; the photo is unchanged where heat is 0
_KNOTS = (0.0, 1 / 3, 2 / 3, 1.0)
_COLORS = np.array([[40, 60, 200], [30, 200, 220], [250, 220, 40], [220, 30, 20]], np.float32)
_OPACITY = 0.65  # at half of the maximum heat and above
WIDTH = 240  # minimum width of a captioned picture, in pixels; narrower pictures are enlarged
FONT_SIZE, LINE, MARGIN = 13, 17, 4  # pixels


def on_photo(heat: np.ndarray, shape: Sequence[int], square: Square) -> np.ndarray:
    """Map heat of the model's square pixels back to the original photo.

    Args:
      heat: float [h, w], at least 0.
      shape: the photo's height and width.
      square: how `pixels.to_model_size` made the photo square; cropped parts have no heat.

    Returns:
      float32 of that shape in 0 .. 1: 1 at the photo's maximum; all 0 if there is no heat.
    """
    height, width = shape
    if square == "squeeze":
        placed = _resize(heat, height, width)
    elif square == "pad":
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        placed = _resize(heat, side, side)[top : top + height, left : left + width]
    else:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        placed = np.zeros([height, width], np.float32)
        placed[top : top + side, left : left + side] = _resize(heat, side, side)
    hottest = placed.max()
    return placed / hottest if hottest > 0 else placed


def _resize(heat: np.ndarray, height: int, width: int) -> np.ndarray:
    image = Image.fromarray(np.asarray(heat, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def overlay(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return a photo uint8 [H, W, 3] with heat [H, W] in 0 .. 1 drawn over it, uint8 [H, W, 3]."""
    color = np.stack([np.interp(heat, _KNOTS, channel) for channel in _COLORS.T], -1)  # [H, W, 3]
    opacity = _OPACITY * np.minimum(2 * heat, 1)[..., np.newaxis]  # [H, W, 1]
    return np.rint((1 - opacity) * photo + opacity * color).astype(np.uint8)


def with_caption(picture: np.ndarray, lines: Sequence[str]) -> Image.Image:
    """Return a picture uint8 [H, W, 3] with lines of text below; long lines are cut off."""
    shown = Image.fromarray(picture)
    if shown.width < WIDTH:
        size = (WIDTH, round(WIDTH * shown.height / shown.width))
        shown = shown.resize(size, Image.Resampling.BICUBIC)
    width, height = shown.size
    font = ImageFont.load_default(FONT_SIZE)
    image = Image.new("RGB", (width, height + LINE * len(lines) + MARGIN), "white")
    image.paste(shown)
    pen = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        pen.text((MARGIN, height + LINE * i), line, fill="black", font=font)
    return image


def side_by_side(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Arrange pictures of one size in rows of `columns`."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (width * min(columns, len(pictures)), height * rows), "white")
    for i, picture in enumerate(pictures):
        page.paste(picture, (i % columns * width, i // columns * height))
    return page
