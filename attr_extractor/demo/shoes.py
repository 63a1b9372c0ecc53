"""Demo catalogue: draw shoes from the side. Units as in pen.py, but the ground is at y = 60 and
the toe points to the right.
"""

from __future__ import annotations

from attr_extractor.demo import trims
from attr_extractor.demo.pen import Pen, curve
from attr_extractor.demo.surface import Cloth, Rgb, lighten, mix
from attr_extractor.demo.tops import Wear

GROUND = 60.0
SOLE: Rgb = (206, 186, 152)  # natural rubber: not a named colour of the schema
HEELS: dict[str, float] = {"flat": 3.0, "block heel": 20.0, "stiletto": 27.0, "wedge": 19.0}
TOES: tuple[str, ...] = ("round toe", "pointed toe", "open toe")
CLOSURES: tuple[str, ...] = ("laces", "buckle", "velcro")


def draw_shoes(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw one shoe from the side, with its heel, toe and closure."""
    heel_type, toe = values["heel_type"], values["toe_shape"]
    h = HEELS[heel_type]
    bed = GROUND - 4.0  # top of the sole under the ball of the foot
    back = bed - h  # top of the sole under the heel
    _draw_heel(pen, heel_type, back)
    tip = {"round toe": 37.0, "pointed toe": 47.0, "open toe": 38.0}[toe]
    top_sole = curve(
        (-31, back), (-12, back + 0.42 * h), (8, bed - 0.5), (24, bed), (tip, bed - 0.5)
    )
    low_sole = [(x, y + (4.0 if heel_type in ("flat", "wedge") else 3.0)) for x, y in top_sole]
    pen.fill([*top_sole, *reversed(low_sole)], SOLE, mix(SOLE, (0, 0, 0), 0.45))

    instep = (8.0, bed - 17 - 0.12 * h)
    collar = [
        (-33.5, back - 23),
        *curve((-31, back - 24), (-20, back - 17), (-10, back - 20 + 0.3 * h)),
    ]
    heel = curve((-31, back), (-34.5, back - 9), (-33.5, back - 23))
    bed_line = curve((-31, back), (-12, back + 0.42 * h), (8, bed - 0.5), (24, bed))
    if toe == "round toe":
        front = [
            *curve(instep, (22, bed - 14), (33, bed - 11), (38, bed - 5), (36, bed)),
            (24, bed),
        ]
    elif toe == "pointed toe":
        front = [*curve(instep, (24, bed - 10), (38, bed - 4.5), (48, bed - 0.6)), (24, bed)]
    else:
        front = [*curve(instep, (13, bed - 15), (18, bed - 12)), (14, bed - 5), (17, bed)]
    back_lining = [*curve((-31, back - 24), (-20, back - 26), (-10, back - 24 + 0.3 * h)),
                   (-10, back - 18 + 0.3 * h), (-28, back - 14)]  # fmt: skip
    pen.fill(back_lining, cloth.inside, cloth.ink)
    if toe == "open toe":  # the insole and the far side are visible through the opening
        far = curve((10, bed - 14), (19, bed - 12), (26, bed - 6), (24, bed))
        pen.fill([*far, (10, bed)], cloth.inside)
        pen.fill([(10, bed - 2.2), (37, bed - 2.2), (38, bed), (10, bed)], lighten(SOLE, 0.4),
                 mix(SOLE, (0, 0, 0), 0.4))  # fmt: skip
    outline = [*heel, *collar, *front, *reversed(bed_line[:-1])]
    pen.cloth(outline, cloth)
    pen.line([*heel, *collar], cloth.ink, 0.9)
    pen.line(curve((-33, back - 12), (-24, back - 8), (-20, back + 0.1 * h)), cloth.ink, 0.6)
    if toe == "round toe":
        pen.line(curve((24, bed - 13), (27, bed - 7), (25, bed)), cloth.ink, 0.9)
    _draw_closure(pen, cloth, values["closure_type"], back, bed, h)


def _draw_heel(pen: Pen, heel_type: str, back: float) -> None:
    dark = mix(SOLE, (40, 24, 12), 0.75)
    edge = mix(dark, (0, 0, 0), 0.4)
    if heel_type == "flat":
        pen.fill([(-32, GROUND - 4.5), (38, GROUND - 2.5), (38, GROUND), (-32, GROUND)], SOLE)
    elif heel_type == "block heel":
        pen.fill([(-32, back + 1), (-13, back + 6), (-15, GROUND), (-33, GROUND)], dark, edge)
    elif heel_type == "stiletto":
        spike = [*curve((-32, back + 1), (-31.5, back + 8), (-30.6, GROUND)), (-28.4, GROUND),
                 *curve((-27.5, back + 10), (-22, back + 5), (-16, back + 8))]  # fmt: skip
        pen.fill(spike, dark, edge)
    else:
        wedge = [(-32, back + 2), *curve((-12, back + 10), (8, GROUND - 1.5), (30, GROUND)),
                 (-34, GROUND)]  # fmt: skip
        pen.fill(wedge, mix(SOLE, (120, 74, 40), 0.35), edge)
        for k in range(1, 5):
            y = back + 2 + k * (GROUND - back - 2) / 5
            pen.line([(-33, y), (-26 + 8 * k, y)], edge, 0.5)


def _draw_closure(pen: Pen, cloth: Cloth, closure: str, back: float, bed: float, h: float) -> None:
    rim = (-10.0, back - 20 + 0.3 * h)
    instep = (8.0, bed - 17 - 0.12 * h)
    if closure == "laces":
        white, dark = (250, 250, 246), (60, 60, 64)
        for k in range(4):
            u = (k + 0.4) / 4
            x, y = rim[0] + u * (instep[0] + 6 - rim[0]), rim[1] + u * (instep[1] - rim[1]) + 0.8
            for color, width in ((dark, 2.6), (white, 1.7)):
                pen.line([(x + 2, y - 1), (x - 5, y + 6.5)], color, width)
        bow = rim[0] + 1, rim[1] - 0.5
        for dx, dy in ((-6, -5.5), (5.5, -6), (6.5, 1.5)):
            loop = curve(
                bow, (bow[0] + dx, bow[1] + dy - 2), (bow[0] + dx * 1.1, bow[1] + dy + 2), bow
            )
            pen.line(loop, dark, 1.9)
            pen.line(loop, white, 1.1)
    elif closure == "velcro":
        face = mix(cloth.trim, cloth.ink, 0.35)
        for u in (0.05, 0.95):
            x, y = rim[0] + u * (instep[0] + 4 - rim[0]), rim[1] + u * (instep[1] - rim[1])
            strap = [(x - 4.4, y - 1.6), (x + 5.4, y - 1), (x - 0.6, y + 15), (x - 10.6, y + 14)]
            pen.fill(strap, face, cloth.ink, 0.9)
            pen.fill([(x - 6.6, y + 4), (x + 3.6, y + 5), (x - 0.6, y + 15), (x - 10.6, y + 14)],
                     lighten(face, 0.45), cloth.ink, 0.6)  # fmt: skip
    else:
        y = rim[1] - 2
        strap = [(-34, y - 1), (-6, y - 4), (-5, y + 1), (-34, y + 5)]
        pen.fill(strap, trims.LEATHER, mix(trims.LEATHER, (0, 0, 0), 0.4), 0.6)
        cx, cy = -16.0, y
        frame = [(cx - 4.6, cy - 5), (cx + 4.6, cy - 5.6), (cx + 4.6, cy + 4.6), (cx - 4.6, cy + 5)]
        pen.fill(frame, trims.BRASS, (120, 86, 30), 0.6)
        pen.fill([(x * 0.5 + cx * 0.5, v * 0.5 + cy * 0.5) for x, v in frame], trims.LEATHER)
        pen.line([(cx - 1, cy), (cx + 4.6, cy)], trims.BRASS, 1.0)
