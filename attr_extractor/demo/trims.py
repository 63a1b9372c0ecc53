"""Demo catalogue: garment details - necklines, collars, closures, pockets, hems, borders, belts
and prints. Each value of the schema is one entry of a table in this file.
"""

from __future__ import annotations

import math

from attr_extractor.demo.pen import Pen, Points, curve, mirror
from attr_extractor.demo.surface import Cloth, Rgb, lighten, mix

METAL: Rgb = (206, 208, 212)
BRASS: Rgb = (214, 170, 74)
LEATHER: Rgb = (124, 74, 38)  # brown: not a named colour of the schema

# Front edge of the neck opening, from the left to the right shoulder.
NECKLINES: dict[str, list[tuple[float, float]]] = {
    "round neck": curve((-7.4, -0.4), (-5.6, 5.4), (0, 9.4), (5.6, 5.4), (7.4, -0.4)),
    "v-neck": [(-7.4, -0.4), (0, 20.5), (7.4, -0.4)],
    "square neck": [(-9.4, 0.8), (-9.2, 13), (9.2, 13), (9.4, 0.8)],
    "high neck": [(-7.5, 0.5), (-5.4, -2), (-5.6, -8.5), (5.6, -8.5), (5.4, -2), (7.5, 0.5)],
}
COLLAR_OPENINGS: dict[str, list[tuple[float, float]]] = {
    "pointed collar": [(-6.5, -1), (0, 8), (6.5, -1)],
    "mandarin collar": [(-5.8, -1), (0, 3), (5.8, -1)],
    "hood": curve((-8, -0.5), (-5, 6), (0, 9), (5, 6), (8, -0.5)),
}
POCKETS: dict[str, tuple[int, ...]] = {"no pocket": (), "two pockets": (-1, 1), "one pocket": (1,)}
BORDERS: dict[str, float] = {"no border": 0.0, "broad border": 11.0, "thin border": 3.6}
BELTS: dict[str, float] = {"no belt": 0.0, "broad belt": 5.6, "thin belt": 2.2}
HEMS: tuple[str, ...] = ("straight", "curved", "asymmetric")
PRINTS: tuple[str, ...] = ("no print", "text", "heart", "star")

# Letters as straight strokes (x 0 .. 1, y 0 .. 1), so that no font is required.
_LETTERS: dict[str, list[list[tuple[float, float]]]] = {
    "A": [[(0, 1), (0.5, 0), (1, 1)], [(0.2, 0.65), (0.8, 0.65)]],
    "E": [[(1, 0), (0, 0), (0, 1), (1, 1)], [(0, 0.5), (0.8, 0.5)]],
    "K": [[(0, 0), (0, 1)], [(1, 0), (0, 0.55), (1, 1)]],
    "L": [[(0, 0), (0, 1), (1, 1)]],
    "M": [[(0, 1), (0, 0), (0.5, 0.6), (1, 0), (1, 1)]],
    "N": [[(0, 1), (0, 0), (1, 1), (1, 0)]],
    "T": [[(0, 0), (1, 0)], [(0.5, 0), (0.5, 1)]],
    "W": [[(0, 0), (0.25, 1), (0.5, 0.4), (0.75, 1), (1, 0)]],
}
_WORDS = ("NEW", "MAKE", "WALK")


def draw_neck(pen: Pen, cloth: Cloth, neck_type: str) -> None:
    """Draw the band along the neckline, or the ribbed collar of a high neck."""
    line = NECKLINES[neck_type]
    if neck_type == "high neck":
        band = line[1:5]
        pen.fill([band[0], band[1], band[2], band[3], (0, 0)], cloth.trim, cloth.ink)
        for x in (-3.3, -1.1, 1.1, 3.3):
            pen.line([(x, -8), (x, -1.8)], cloth.ink, 0.4)
        return
    pen.line(line, cloth.trim, 2.8)
    pen.line(line, cloth.ink, 1.0)


def draw_collar(pen: Pen, cloth: Cloth, collar_type: str) -> None:
    """Draw the collar of a shirt or jacket, over the finished front."""
    if collar_type == "pointed collar":
        flap = [(5.0, -4.5), (0.4, 6.0), (7.0, 13.5), (10.2, 1.5)]
        for side in (flap, mirror(flap)):
            pen.fill(side, lighten(cloth.trim, 0.12), cloth.ink, 0.8)
    elif collar_type == "mandarin collar":
        band = [(5.4, -5.5), (0.7, -0.8), (0.7, 4.8), (7.2, 0.6)]
        for side in (band, mirror(band)):
            pen.fill(side, cloth.trim, cloth.ink, 0.7)
    else:
        edge = COLLAR_OPENINGS["hood"]
        pen.line(edge, cloth.trim, 2.6)
        for x in (-3.6, 3.6):
            pen.line([(x, 7), (x * 1.05, 20)], (245, 245, 240), 1.1)
            pen.dot((x * 1.05, 20.5), 1.1, BRASS)


def draw_hood_behind(pen: Pen, cloth: Cloth) -> None:
    """Draw the hood; call before drawing the body, because it is behind neck and shoulders."""
    right = curve((0, -14), (8.5, -11.5), (12.4, -3), (12, 5))
    pen.fill([*mirror(right), *right], cloth.trim, cloth.ink, 0.7)
    inner = curve((0, -10), (5.6, -8), (8, -2), (7.5, 6))
    pen.fill([*mirror(inner), *inner], cloth.inside)


def draw_front_closure(pen: Pen, cloth: Cloth, closure: str, top: float, bottom: float) -> None:
    """Draw buttons or a zip down the middle of the front, y from `top` to `bottom`."""
    if closure == "zip":
        pen.fill([(-1.7, top), (1.7, top), (1.7, bottom), (-1.7, bottom)], (52, 52, 56))
        teeth = int((bottom - top) / 1.6)
        for k in range(teeth):
            y = top + 0.8 + k * 1.6
            pen.line([(-1.0, y), (1.0, y)], METAL, 0.8)
        pen.fill([(-1.4, top + 1), (1.4, top + 1), (1.0, top + 6), (-1.0, top + 6)], METAL,
                 (80, 80, 84))  # fmt: skip
        return
    pen.fill([(-2.3, top), (2.3, top), (2.3, bottom), (-2.3, bottom)], cloth.trim, cloth.ink, 0.4)
    count = max(3, round((bottom - top) / 7.5))
    for k in range(count):
        pen.dot((0, top + (k + 0.5) * (bottom - top) / count), 1.6, cloth.button, (90, 80, 70))


def draw_pockets(pen: Pen, cloth: Cloth, pocket: str, x: float, y: float, size: float) -> None:
    """Draw patch pockets with a flap, centred at (+-x, y); `size` is their width."""
    half = size / 2
    face = mix(cloth.trim, cloth.ink, 0.3)
    for side in POCKETS[pocket]:
        cx = side * x
        patch = [(cx - half, y), (cx + half, y), (cx + half, y + size * 0.9), (cx, y + size * 1.15),
                 (cx - half, y + size * 0.9)]  # fmt: skip
        pen.fill(patch, face, cloth.ink, 0.8)
        flap = [(cx - half, y), (cx + half, y), (cx, y + size * 0.5)]
        pen.fill(flap, cloth.trim, cloth.ink, 0.6)


def hem_line(hem_shape: str, half_width: float, y: float) -> list[tuple[float, float]]:
    """Return the lower edge of a garment, from right to left; `y` is its height in the middle."""
    if hem_shape == "curved":
        w = half_width
        return curve((w, y - 5.5), (w * 0.86, y - 1), (w * 0.45, y + 2.8), (0, y + 3.6),
                     (-w * 0.45, y + 2.8), (-w * 0.86, y - 1), (-w, y - 5.5))  # fmt: skip
    if hem_shape == "asymmetric":
        return [(half_width, y + 4), (-half_width, y - 10)]
    return [(half_width, y), (-half_width, y)]


def draw_border(pen: Pen, cloth: Cloth, border: str, hem: Points) -> None:
    """Draw a band in the accent colour along the hem."""
    height = BORDERS[border]
    if not height:
        return
    pen.fill([*hem, *((x, y - height) for x, y in reversed(hem))], cloth.accent, cloth.ink, 0.4)
    # A gold edge, as on saris, separates the band from a pattern in the same two colours.
    edge = [(x, y - height) for x, y in hem]
    pen.line(edge, cloth.ink, 2.4)
    pen.line(edge, BRASS, 1.5)


def draw_belt(pen: Pen, belt: str, half_width: float, y: float) -> None:
    """Draw a leather belt with a buckle around the waist at `y`."""
    height = BELTS[belt] / 2
    if not height:
        return
    w = half_width + 0.6
    pen.fill([(-w, y - height), (w, y - height), (w, y + height), (-w, y + height)], LEATHER,
             mix(LEATHER, (0, 0, 0), 0.4))  # fmt: skip
    b = height + 0.7
    pen.fill([(-b, y - b), (b, y - b), (b, y + b), (-b, y + b)], BRASS, (120, 86, 30))
    pen.fill([(-b * 0.45, y - b * 0.45), (b * 0.45, y - b * 0.45), (b * 0.45, y + b * 0.45),
              (-b * 0.45, y + b * 0.45)], LEATHER)  # fmt: skip


def draw_print(pen: Pen, cloth: Cloth, print_type: str, y: float, size: float, word: int) -> None:
    """Draw a motif in the accent colour, centred at (0, y), about `size` units to each side."""
    if print_type == "no print":
        return
    if cloth.texture is not None:  # a plain ground keeps the motif visible on a pattern
        ground = [(1.35 * size * math.cos(a), y + 1.25 * size * math.sin(a))
                  for a in (2 * math.pi * k / 28 for k in range(28))]  # fmt: skip
        pen.fill(ground, cloth.base, cloth.ink)
    if print_type == "text":
        letters = _WORDS[word % len(_WORDS)]
        step = 2.3 * size / len(letters)
        for k, letter in enumerate(letters):
            left = -1.15 * size + (k + 0.14) * step
            for stroke in _LETTERS[letter]:
                line = [(left + 0.72 * step * u, y + size * (1.2 * v - 0.6)) for u, v in stroke]
                pen.line(line, cloth.accent, 0.2 * size)
    else:
        shape = _star() if print_type == "star" else _heart()
        pen.fill([(size * u, y + size * v) for u, v in shape], cloth.accent)


def _star() -> list[tuple[float, float]]:
    angles = [math.pi * k / 5 - math.pi / 2 for k in range(10)]
    return [
        ((1.1 if k % 2 == 0 else 0.46) * math.cos(a), (1.1 if k % 2 == 0 else 0.46) * math.sin(a))
        for k, a in enumerate(angles)
    ]


def _heart() -> list[tuple[float, float]]:
    angles = [2 * math.pi * k / 32 for k in range(32)]
    return [
        (
            math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 15,
        )
        for a in angles
    ]
