"""Demo catalogue: trousers - jeans and pyjamas."""

from __future__ import annotations

import dataclasses

from attr_extractor.demo import trims
from attr_extractor.demo.long_garments import LENGTHS
from attr_extractor.demo.pen import Pen, curve, mirror
from attr_extractor.demo.surface import Cloth, Rgb, lighten, luminance, mix
from attr_extractor.demo.tops import Wear

_WAIST, _CROTCH = 30.0, 51.0
DENIM: Rgb = (92, 100, 118)  # mixed into a dye to make it duller
STITCH: Rgb = (222, 150, 70)
# Half width of a leg at the crotch, halfway down and at its end.
LEG_SHAPES: dict[str, tuple[float, float, float]] = {
    "straight": (7.6, 7.0, 6.8),
    "tapered": (7.2, 4.9, 3.4),
    "flared": (7.2, 6.6, 12.0),
}
WASHES: tuple[str, ...] = ("plain wash", "faded", "ripped")


def draw_trousers(pen: Pen, cloth: Cloth, values: dict[str, str]) -> None:
    """Draw both legs and the hips, without the waistband."""
    end = LENGTHS[values["garment_length"]] + 1.5
    thigh, middle, foot = LEG_SHAPES[values["leg_shape"]]
    center = 7.4
    half = (end + _CROTCH) / 2
    lean = 0.4 * max(0.0, foot - 7)  # shift flares outwards so that the legs stay separate
    outer = [*curve((10.6, _WAIST), (13.8, 42), (center + thigh - 0.4, _CROTCH),
                    (center + middle, half)), (center + lean + foot, end)]  # fmt: skip
    inner = [(max(0.6, center + lean - foot), end), (max(0.5, center - middle), half),
             (0.2, _CROTCH)]  # fmt: skip
    pen.cloth([*outer, *inner, *mirror(inner), *mirror(outer)], cloth)
    for side in (1, -1):
        x0, x1 = max(0.6, center + lean - foot), center + lean + foot
        cuff = [(x0, end), (x1, end), (x1 - 0.2, end - 2.2), (x0 + 0.2, end - 2.2)]
        pen.fill([(side * x, y) for x, y in cuff], cloth.trim, cloth.ink, 0.4)
    pen.line([(0, 40), (0.1, _CROTCH)], cloth.ink, 0.6)


def draw_jeans(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw jeans with their leg shape, wash, closure, pockets and belt."""
    if luminance(cloth.base) < 200:
        cloth = dataclasses.replace(cloth, base=mix(cloth.base, DENIM, 0.25))
    draw_trousers(pen, cloth, values)
    _draw_wash(pen, cloth, values)
    for side in (1, -1):
        pocket = [(side * x, y) for x, y in curve((5, 33), (6.2, 37.5), (12.6, 40))]
        pen.line(pocket, STITCH, 0.8)
        seam = [(side * x, y) for x, y in curve((11.2, 34), (12.8, 42), (13.4, 50))]
        pen.line(seam, STITCH, 0.5)
    band = [(-10.8, _WAIST - 1), (10.8, _WAIST - 1), (11.2, _WAIST + 4), (-11.2, _WAIST + 4)]
    pen.fill(band, cloth.trim, cloth.ink)
    for x in (-7.6, 7.6):
        pen.fill([(x - 0.7, 28.6), (x + 0.7, 28.6), (x + 0.7, 34.6), (x - 0.7, 34.6)], cloth.ink)
    _draw_fly(pen, cloth, values["closure_type"])
    trims.draw_belt(pen, values["belt"], 11.0, _WAIST + 1.5)


def _draw_fly(pen: Pen, cloth: Cloth, closure: str) -> None:
    pen.line(curve((3.4, 34), (3.2, 42), (0.2, 47)), STITCH, 0.6)
    if closure == "zip":
        pen.fill([(-1.5, 34), (1.5, 34), (1.2, 46), (-1.2, 46)], (58, 58, 62))
        for k in range(8):
            pen.line([(-0.9, 35 + 1.4 * k), (0.9, 35 + 1.4 * k)], trims.METAL, 0.75)
        pen.fill([(-1.5, 35.5), (1.5, 35.5), (1.2, 39.5), (-1.2, 39.5)], trims.METAL, (80, 80, 84))
        return
    for y in (36.5, 40.3, 44.1):
        pen.dot((0.6, y), 1.5, trims.BRASS, (110, 76, 24))


def _draw_wash(pen: Pen, cloth: Cloth, values: dict[str, str]) -> None:
    wash, end = values["wash"], LENGTHS[values["garment_length"]]
    if wash == "faded":
        # White cloth cannot become paler, so it fades towards the blue of old denim.
        worn_out = (150, 172, 205) if luminance(cloth.base) > 200 else (255, 255, 255)
        for step in range(6):
            pale, width = mix(cloth.base, worn_out, 0.2 + 0.11 * step), 4.0 - 0.6 * step
            for side in (1, -1):
                patch = curve((7.4, 40), (7.4 + width, 46), (7.4 + width * 0.9, end - 7),
                              (7.4, end - 3), (7.4 - width * 0.9, end - 7), (7.4 - width, 46),
                              (7.4, 40))  # fmt: skip
                pen.fill([(side * x, y) for x, y in patch], pale)
    elif wash == "ripped":
        spots = [(1, 46.0, 4.0), (-1, 50.0, 3.6)]
        if end > 60:
            spots += [(1, 60.0, 3.6), (-1, 63.5, 3.2)]
        for side, y, half in spots:
            x = 7.4 * side
            hole = [(x - half, y), (x, y - 2.4), (x + half, y + 0.3), (x + 0.2, y + 2.6)]
            pen.fill(hole, (226, 190, 160), lighten(cloth.base, 0.8), 0.8)
            for shift in (-0.9, 0.9):
                pen.line([(x - half * 0.7, y + shift), (x + half * 0.7, y + shift + 0.2)],
                         (245, 245, 245), 0.45)  # fmt: skip


def draw_pyjamas(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw pyjamas with their leg shape and drawstring or elastic."""
    draw_trousers(pen, cloth, values)
    band = [(-10.8, _WAIST - 2), (10.8, _WAIST - 2), (11.4, _WAIST + 4.5), (-11.4, _WAIST + 4.5)]
    if values["closure_type"] == "elastic":
        pen.fill(band, mix(cloth.trim, cloth.ink, 0.25), cloth.ink, 0.7)
        for k in range(-7, 8):
            pen.line([(1.45 * k, _WAIST - 1.5), (1.5 * k, _WAIST + 4)], cloth.ink, 0.55)
        return
    pen.fill(band, cloth.trim, cloth.ink)
    cord = (250, 248, 240)
    for side in (1, -1):
        loop = curve((0, _WAIST + 1.5), (5.5, _WAIST - 1), (6, _WAIST + 4), (0, _WAIST + 1.5))
        end = curve((0, _WAIST + 1.5), (2.2, _WAIST + 8), (1.8 + side * 0.4, _WAIST + 16))
        for line in (loop, end):
            placed = [(side * x, y) for x, y in line]
            pen.line(placed, (70, 66, 60), 2.0)
            pen.line(placed, cord, 1.3)
        pen.dot((side * end[-1][0], end[-1][1]), 1.2, cord, (70, 66, 60))
    pen.dot((0, _WAIST + 1.5), 1.5, cord, (70, 66, 60))
