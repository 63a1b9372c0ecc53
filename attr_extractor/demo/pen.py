"""Demo catalogue: draw shapes, given in body units, on a transparent layer.

Body units: x = 0 is the middle of the body, y points downwards, y = 0 is the base of the neck and
the feet are at about y = 90. `matrix` applies the zoom, rotation and shift of a photo, so garments
are defined once, upright. Imports only Pillow and NumPy.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np
from PIL import Image, ImageDraw

from attr_extractor.demo.surface import Cloth, Rgb

Points = Sequence[tuple[float, float]]


def curve(*points: tuple[float, float], steps: int = 7) -> list[tuple[float, float]]:
    """Return a smooth curve (Catmull-Rom) through `points`, including both ends."""
    p = np.asarray([points[0], *points, points[-1]], np.float64)  # [n + 2, 2]
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[:, None]
    pieces = [
        0.5
        * (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:])
    ]
    return [*map(tuple, np.concatenate(pieces).tolist()), points[-1]]


def mirror(points: Points) -> list[tuple[float, float]]:
    """Return the other half of a symmetric outline: x negated, order reversed."""
    return [(-x, y) for x, y in reversed(points)]


class Pen:
    """Pen on `layer` (RGBA, `size` = width, height in pixels), mapped by `matrix` (float[2, 3])."""

    def __init__(self, size: tuple[int, int], matrix: np.ndarray):
        self.layer = Image.new("RGBA", size)
        self.matrix = matrix
        self.unit = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))  # pixels per body unit
        self._draw = ImageDraw.Draw(self.layer)

    def fill(self, points: Points, color: Rgb, edge: Rgb | None = None, width: float = 0.5) -> None:
        """Draw a filled polygon, outlined in colour `edge` if given; `width` is in body units."""
        pixels = self._pixels(points)
        self._draw.polygon(pixels, fill=color)
        if edge is not None:
            self._stroke([*pixels, pixels[0], pixels[1]], edge, width)

    def cloth(self, points: Points, cloth: Cloth, edge: bool = True) -> None:
        """Draw a polygon filled with the product's cloth: a plain colour or a pattern."""
        if cloth.texture is None:
            self.fill(points, cloth.base, cloth.ink if edge else None)
            return
        pixels = self._pixels(points)
        width, height = self.layer.size
        xs, ys = zip(*pixels)
        left, top = max(0, int(min(xs))), max(0, int(min(ys)))
        right, bottom = min(width, int(max(xs)) + 2), min(height, int(max(ys)) + 2)
        if right > left and bottom > top:
            mask = Image.new("1", (right - left, bottom - top))
            ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in pixels], fill=1)
            box = (left, top, right, bottom)
            self.layer.paste(cloth.texture.crop(box), box, mask)
        if edge:
            self._stroke([*pixels, pixels[0], pixels[1]], cloth.ink, 0.5)

    def line(self, points: Points, color: Rgb, width: float = 0.5) -> None:
        """Draw an open line through `points`; `width` is in body units."""
        self._stroke(self._pixels(points), color, width)

    def dot(
        self, center: tuple[float, float], radius: float, color: Rgb, edge: Rgb | None = None
    ) -> None:
        """Draw a filled circle; `radius` is in body units."""
        (x, y), r = self._pixels([center])[0], radius * self.unit
        box = (x - r, y - r, x + r, y + r)
        self._draw.ellipse(box, fill=color, outline=edge, width=max(1, round(0.35 * self.unit)))

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        xy = np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return list(map(tuple, xy.tolist()))

    def _stroke(self, pixels: list[tuple[float, float]], color: Rgb, width: float) -> None:
        self._draw.line(pixels, fill=color, width=max(1, round(width * self.unit)), joint="curve")
