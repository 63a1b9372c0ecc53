"""Demo catalogue: draw garments that cover the legs - dress, kurta, sari and skirt."""

from __future__ import annotations

from attr_extractor.demo import tops, trims
from attr_extractor.demo.body import LEGGINGS, draw_legs
from attr_extractor.demo.pen import Pen, curve, mirror
from attr_extractor.demo.surface import Cloth, mix
from attr_extractor.demo.tops import Cut, Wear

WAIST = 32.0
# y of the hem, in body units; knees are at 66, ankles at 86.
LENGTHS: dict[str, float] = {"knee length": 71.0, "full length": 86.0, "short": 59.0}
SKIRT_SHAPES: tuple[str, ...] = ("a-line", "pencil", "tiered")
_DRESS_CUT = Cut(chest=12.6, waist=10.2, hem=13.0, sleeve=4.2)


def draw_skirt_part(pen: Pen, cloth: Cloth, values: dict[str, str]) -> list[tuple[float, float]]:
    """Draw a skirt by `skirt_shape`, `garment_length` and `hem_shape`; return the hem."""
    bottom = LENGTHS[values["garment_length"]]
    shape = values["skirt_shape"]
    if shape == "tiered":
        return _draw_tiers(pen, cloth, bottom, values["hem_shape"])
    if shape == "pencil":
        wide = 15.6 - 0.14 * (bottom - 59)
        side = curve((10.2, WAIST), (13.6, 41), (13.8, 47), (wide, bottom - 6))
    else:
        wide = 20.0 + 0.2 * (bottom - 56)
        side = [(10.2, WAIST), (wide, bottom - 3)]
    hem = trims.hem_line(values["hem_shape"], wide, bottom)
    side = [p for p in side if p[1] < hem[0][1] - 1]
    left = [p for p in mirror(side) if p[1] < hem[-1][1] - 1]
    pen.cloth([*left, *side, *hem], cloth)
    if shape == "a-line":
        for x in (-0.62, -0.25, 0.25, 0.62):
            foot = _y_at(hem, x * wide)
            pen.line([(x * 10, WAIST + 5), (x * wide, foot - 1)], cloth.ink, 0.4)
    return hem


def _draw_tiers(pen: Pen, cloth: Cloth, bottom: float, hem_shape: str) -> list[tuple[float, float]]:
    height = (bottom - WAIST) / 3
    hem: list[tuple[float, float]] = []
    for tier in (2, 1, 0):  # upper tiers overlap lower ones
        top, wide = WAIST + tier * height, 15.5 + 4.2 * tier
        # Rounded tiers would expose the sides of the tiers below; only the last is rounded.
        rounded = hem_shape == "curved" and tier < 2
        line = trims.hem_line("straight" if rounded else hem_shape, wide, top + height)
        if tier == 2:
            hem = line
        upper = top - (8 if tier else 0)  # tucked under, even if a slanted hem rises
        pen.cloth([(-wide + 5, upper), (wide - 5, upper), *line], cloth)
        pen.fill([*line, *((x * 0.99, y - 3.0) for x, y in reversed(line))], cloth.trim)
        pen.line(line, cloth.ink, 1.4)
        for k in range(-3, 4):
            x = k / 3.6 * wide
            foot = _y_at(line, x)
            pen.line([(x, foot - 2), (x * 0.93, foot - 0.62 * height)], cloth.ink, 0.4)
    return hem


def _y_at(hem: list[tuple[float, float]], x: float) -> float:
    """Return y of the hem at `x`, by linear interpolation."""
    for (x0, y0), (x1, y1) in zip(hem, hem[1:]):
        if min(x0, x1) <= x <= max(x0, x1) and x0 != x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return hem[-1][1]


def draw_dress(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw a dress: bodice, sleeves, neckline and skirt."""
    sleeve = values["sleeve_length"]
    opening = trims.NECKLINES[values["neck_type"]]
    tops.draw_sleeves(pen, cloth, sleeve, _DRESS_CUT, wear.spread)
    draw_skirt_part(pen, cloth, values)
    outline = tops.bodice(opening, _DRESS_CUT, sleeve == "sleeveless")
    pen.cloth(outline, cloth)
    tops.draw_opening(pen, cloth, opening, wear)
    tops.draw_armhole_seams(pen, cloth, _DRESS_CUT, sleeve == "sleeveless")
    pen.line([(-10.2, WAIST), (10.2, WAIST)], cloth.ink, 0.8)
    trims.draw_neck(pen, cloth, values["neck_type"])
    trims.draw_print(pen, cloth, values["print_type"], 45.0, 7.4, wear.word)
    trims.draw_belt(pen, values["belt"], 10.2, WAIST)


def draw_skirt(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw a skirt with its shape, length and hem."""
    hem = draw_skirt_part(pen, cloth, values)
    trims.draw_border(pen, cloth, values["border"], hem)
    band = [(-10.6, WAIST - 4), (10.6, WAIST - 4), (10.4, WAIST + 1), (-10.4, WAIST + 1)]
    pen.fill(band, cloth.trim, cloth.ink)
    trims.draw_print(pen, cloth, values["print_type"], 43.5, 7.6, wear.word)
    trims.draw_belt(pen, values["belt"], 10.4, WAIST - 1.5)


def draw_kurta(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw a long tunic with side slits and a buttoned placket, over leggings."""
    cut, sleeve = tops.FITS[values["fit"]], values["sleeve_length"]
    bottom = LENGTHS[values["garment_length"]]
    opening = trims.NECKLINES[values["neck_type"]]
    if wear.skin is not None:
        draw_legs(pen, LEGGINGS)
    tops.draw_sleeves(pen, cloth, sleeve, cut, wear.spread)
    hem = trims.hem_line(values["hem_shape"], cut.hem + 0.08 * (bottom - 48), bottom)
    # The back panel is visible in the slits, beyond the narrower front.
    slit = 42.0
    back = [(x * 1.1, y) for x, y in hem]
    pen.fill([(-cut.hem, slit), (cut.hem, slit), *back], cloth.inside, cloth.ink)
    front = [(x * 0.88, y) for x, y in hem]
    pen.cloth([*tops.bodice(opening, cut, sleeve == "sleeveless"), (cut.hem, slit), *front,
               (-cut.hem, slit)], cloth)  # fmt: skip
    tops.draw_opening(pen, cloth, opening, wear)
    tops.draw_armhole_seams(pen, cloth, cut, sleeve == "sleeveless")
    trims.draw_border(pen, cloth, values["border"], front)
    top = 1.0 if values["neck_type"] == "high neck" else max(y for _, y in opening)
    pen.fill([(-2, top), (2, top), (2, 34), (0, 36.5), (-2, 34)], cloth.trim, cloth.ink)
    for k in range(3):
        pen.dot((0, top + (k + 0.6) * (33 - top) / 3), 1.1, cloth.button)
    trims.draw_neck(pen, cloth, values["neck_type"])
    trims.draw_pockets(pen, cloth, values["pocket"], 0.55 * cut.hem, 38.0, 7.8)


def draw_sari(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw a blouse, pleats down to the feet, and the pallu across chest and shoulder."""
    blouse = Cloth(cloth.trim, cloth.accent, None)
    sleeve = values["sleeve_length"]
    tops.draw_sleeves(pen, blouse, sleeve, _DRESS_CUT, wear.spread)
    opening = trims.NECKLINES["round neck"]
    right = [(12.6, 3.4), (11, 10), (12.4, 16), (11.4, 22)]
    pen.cloth([*mirror(right), *opening, *right], blouse)

    side = curve((10.6, WAIST - 1), (14.4, 44), (15.5, 62), (19, 88))
    hem = [(19.0, 88.0), (-19.0, 88.0)]
    pen.cloth([*mirror(side), *side], cloth)
    trims.draw_border(pen, cloth, values["border"], hem)
    for k in range(5):
        pen.line([(1 + 0.8 * k, WAIST + 1), (-3 + 3.4 * k, 87)], cloth.ink, 0.55)

    border = trims.BORDERS[values["border"]] * 0.55
    fall = [(6.5, 0.5), (15.4, 3.8), (24, 64), (12, 67)]
    pen.cloth(fall, cloth)
    upper = curve((-14.4, 40), (-8, 27), (2, 11), (6.5, 0.5))
    lower = curve((15.4, 3.8), (9, 22), (-2, 38), (-15.2, 50))
    pen.cloth([*upper, *lower], cloth)
    if border:
        inner = [(x - 0.55 * border, y - 0.8 * border) for x, y in lower]
        pen.fill([*lower, *reversed(inner)], cloth.accent, cloth.ink, 0.4)
        deep = 2.2 * border
        pen.fill([(24, 64), (12, 67), (12 - 0.09 * deep, 67 - deep), (24 - 0.15 * deep, 64 - deep)],
                 cloth.accent, cloth.ink, 0.4)  # fmt: skip
    fold = mix(cloth.ink, cloth.base, 0.3)
    for shift in (3.0, 6.5):
        pen.line([(x + shift * 0.6, y + shift) for x, y in upper[2:-2]], fold, 0.45)
