"""Demo catalogue: the appearance of cloth - colours and patterns as repeating tiles.

Imports only Pillow and NumPy.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "blue": (40, 88, 190),
    "black": (40, 40, 44),
    "red": (206, 34, 40),
    "white": (243, 243, 240),
    "green": (40, 140, 70),
    "yellow": (246, 204, 40),
    "pink": (244, 142, 182),
    "grey": (142, 145, 149),
    "purple": (118, 54, 160),
}
# Colours closer than this (Euclidean, 0-255) are indistinguishable in a pattern at 80 pixels.
MIN_CONTRAST = 125.0
TILE = 96  # pixels; the period of every pattern divides it


@dataclasses.dataclass(frozen=True)
class Look:
    """Appearance of one product beyond its attribute values: dye shade and pattern details."""

    shade: float = 0.0  # -1 .. 1: a darker or lighter dye
    pattern_scale: float = 1.0
    pattern_variant: int = 0  # direction of stripes, number of petals, ...

    @classmethod
    def random(cls, rng: np.random.Generator) -> Look:
        """Sample a shade and pattern details from `rng`."""
        return cls(
            shade=float(rng.uniform(-1, 1)),
            pattern_scale=float(rng.uniform(0.85, 1.2)),
            pattern_variant=int(rng.integers(0, 3)),
        )


@dataclasses.dataclass(frozen=True)
class Cloth:
    """Colours of one product; `texture` (RGB, the size of the layer) if it has a pattern."""

    base: Rgb
    accent: Rgb
    texture: Image.Image | None

    @property
    def ink(self) -> Rgb:
        """Return the colour of seams and outlines: darker, or lighter on dark cloth."""
        return mix(self.base, (0, 0, 0), 0.5) if _is_light(self.base) else lighten(self.base, 0.35)

    @property
    def trim(self) -> Rgb:
        """Return the colour of bands and plackets: clearly darker, or lighter on dark cloth."""
        return mix(self.base, (0, 0, 0), 0.25) if _is_light(self.base) else lighten(self.base, 0.2)

    @property
    def inside(self) -> Rgb:
        """Return the colour of the inner side of the back, in shadow."""
        return mix(self.base, (0, 0, 0), 0.42)

    @property
    def button(self) -> Rgb:
        """Return a button colour that contrasts with the cloth."""
        return (58, 40, 30) if luminance(self.base) > 130 else (244, 236, 214)


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Interpolate from `a` to `b` by `share` (0 .. 1)."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b))
    return red, green, blue


def lighten(color: Rgb, share: float) -> Rgb:
    """Interpolate from a colour to white by `share` (0 .. 1)."""
    return mix(color, (255, 255, 255), share)


def luminance(color: Rgb) -> float:
    """Return the perceived brightness of a colour, 0 to 255."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def contrasts(a: str, b: str) -> bool:
    """Return whether two named colours are distinguishable if one is drawn on the other."""
    return math.dist(COLORS[a], COLORS[b]) >= MIN_CONTRAST


def make_cloth(
    colors: tuple[str, ...],
    pattern: str,
    look: Look,
    size: tuple[int, int],
    angle: float,
    scale: float,
) -> Cloth:
    """Make cloth in `colors` (first the ground, then the accent of pattern, print and border).

    `size` is the layer's size in pixels. `angle` (degrees) and `scale` are the photo's pose, so
    that the pattern rotates and scales with the garment.
    """
    base = _dyed(COLORS[colors[0]], look.shade)
    accent = _dyed(COLORS[colors[1]], -look.shade) if len(colors) > 1 else _tint(base)
    draw_tile = PATTERNS[pattern]
    if draw_tile is None:
        return Cloth(base, accent, None)
    tile = Image.new("RGB", (TILE, TILE), base)
    draw_tile(ImageDraw.Draw(tile), base, accent, look.pattern_variant)
    return Cloth(base, accent, _tiled(tile, size, angle, scale * look.pattern_scale))


def _tiled(tile: Image.Image, size: tuple[int, int], angle: float, scale: float) -> Image.Image:
    width, height = size
    reach = math.hypot(width, height) / scale
    repeats = int(reach / TILE) + 2
    plane = Image.fromarray(np.tile(np.asarray(tile), (repeats, repeats, 1)))
    a = math.radians(angle)
    cos, sin = math.cos(a) / scale, math.sin(a) / scale
    center = repeats * TILE / 2
    matrix = (
        cos, sin, center - cos * width / 2 - sin * height / 2,
        -sin, cos, center + sin * width / 2 - cos * height / 2,
    )  # fmt: skip
    # Nearest neighbour suffices: the layer is drawn at twice the size and averaged.
    return plane.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def _dyed(color: Rgb, shade: float) -> Rgb:
    return mix(color, (255, 255, 255) if shade > 0 else (0, 0, 0), 0.09 * abs(shade))


def _tint(color: Rgb) -> Rgb:
    return mix(color, (0, 0, 0), 0.35) if _is_light(color) else lighten(color, 0.4)


def _is_light(color: Rgb) -> bool:
    return luminance(color) > 75


def _striped(draw: ImageDraw.ImageDraw, base: Rgb, accent: Rgb, variant: int) -> None:
    for start in range(0, TILE, TILE // 2):
        a, b = start, start + TILE // 4 - 1
        if variant == 1:
            draw.rectangle((a, 0, b, TILE), fill=accent)
        else:
            draw.rectangle((0, a, TILE, b), fill=accent)


def _checked(draw: ImageDraw.ImageDraw, base: Rgb, accent: Rgb, variant: int) -> None:
    half = TILE // 2
    pale = mix(base, accent, 0.5)
    draw.rectangle((0, 0, TILE, half - 1), fill=pale)
    draw.rectangle((0, 0, half - 1, TILE), fill=pale)
    draw.rectangle((0, 0, half - 1, half - 1), fill=accent)


def _dotted(draw: ImageDraw.ImageDraw, base: Rgb, accent: Rgb, variant: int) -> None:
    quarter, radius = TILE / 4, TILE / 8.2
    for column, row in ((1, 1), (3, 1), (0, 3), (2, 3), (4, 3)):
        x, y = column * quarter, row * quarter
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=accent)


def _floral(draw: ImageDraw.ImageDraw, base: Rgb, accent: Rgb, variant: int) -> None:
    petals = 5 + variant % 2
    # Flowers and leaves stay inside the tile, so that the pattern is seamless.
    for x, y, size in ((0.27, 0.27, 0.25), (0.77, 0.77, 0.25)):
        x, y, reach = x * TILE, y * TILE, size * TILE
        for k in range(petals):
            a = 2 * math.pi * (k + x / TILE) / petals
            px, py = x + 0.58 * reach * math.cos(a), y + 0.58 * reach * math.sin(a)
            r = 0.4 * reach
            draw.ellipse((px - r, py - r, px + r, py + r), fill=accent)
        r = 0.34 * reach
        draw.ellipse((x - r, y - r, x + r, y + r), fill=base)
    leaf = mix(base, accent, 0.6)
    for x, y in ((0.77, 0.25), (0.27, 0.77)):
        x, y = x * TILE, y * TILE
        tip, wide = 0.17 * TILE, 0.06 * TILE
        draw.polygon(((x - tip, y + tip), (x - wide, y - wide), (x + tip, y - tip),
                      (x + wide, y + wide)), fill=leaf)  # fmt: skip


PATTERNS = {
    "solid": None,
    "striped": _striped,
    "checked": _checked,
    "dotted": _dotted,
    "floral": _floral,
}
