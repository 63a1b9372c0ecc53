"""Demo catalogue: the wearer of the product - a person, a mannequin or a hanger.

Arms, midriff and legs are needed: they show where a sleeve, a hem or a neckline ends.
"""

from __future__ import annotations

from attr_extractor.demo.pen import Pen, curve, mirror
from attr_extractor.demo.surface import Rgb, lighten, mix

SKINS: tuple[Rgb, ...] = ((236, 196, 164), (214, 164, 126), (176, 124, 88), (122, 82, 58))
HAIRS: tuple[Rgb, ...] = ((52, 36, 28), (30, 26, 26), (110, 70, 40))
MANNEQUINS: tuple[Rgb, ...] = ((232, 212, 182), (206, 176, 142), (104, 84, 70))

LEGGINGS: Rgb = (196, 168, 128)  # beige: not a named colour of the schema, so it cannot mislead
SHOULDER = (14.0, 5.0)


def arm_line(spread: float) -> tuple[tuple[float, float], ...]:
    """Return shoulder, elbow and wrist of the right arm; `spread`: 0 (hanging) .. 1 (held away)."""
    return SHOULDER, (19.5 + 3 * spread, 23.0 - spread), (22.0 + 8 * spread, 42.0 - 3 * spread)


def draw_neck_and_torso(pen: Pen, skin: Rgb) -> None:
    """Draw the bare neck and torso of a person or mannequin."""
    edge = mix(skin, (0, 0, 0), 0.3)
    right = [
        (1.8, -12.2),
        (4.2, -11),
        (4.4, -2),
        (8, 1),
        SHOULDER,
        (11.5, 17),
        (9.8, 31),
        (12.8, 44),
        (12, 50),
    ]
    pen.fill([*right, *mirror(right)], skin, edge, 0.35)
    pen.fill([(4.2, -6), (3.4, -0.5), (-2, -3), (-4.2, -6)], mix(skin, (0, 0, 0), 0.14))


def draw_head(pen: Pen, skin: Rgb, tone: int) -> None:
    """Draw a head without a face; most of it is above the photo's edge, as in shop photos."""
    hair = HAIRS[tone % len(HAIRS)]
    pen.fill(curve((0, -27), (7.8, -23), (8, -14), (6, -8), (0, -12), (-6, -8), (-8, -14),
                   (-7.8, -23), (0, -27)), hair)  # fmt: skip
    face = curve((0, -24), (5.6, -21), (5.8, -14), (3.6, -8.6), (0, -7), (-3.6, -8.6), (-5.8, -14),
                 (-5.6, -21), (0, -24))  # fmt: skip
    pen.fill(face, skin, mix(skin, (0, 0, 0), 0.25), 0.35)
    pen.fill(
        curve((-5.8, -14), (-4, -20), (4, -20), (5.8, -14), (6, -22), (0, -25), (-6, -22)), hair
    )
    pen.line(curve((-1.6, -10.4), (0, -9.7), (1.6, -10.4)), mix(skin, (150, 30, 40), 0.45), 0.6)


def draw_arms(pen: Pen, skin: Rgb, spread: float) -> None:
    """Draw two arms; `spread` is the distance of the hands from the body, 0 .. 1."""
    edge = mix(skin, (0, 0, 0), 0.3)
    (sx, sy), (ex, ey), (wx, wy) = arm_line(spread)
    outer = curve((sx - 3, sy - 2), (sx + 2.6, sy + 4), (ex + 2.6, ey), (wx + 2.2, wy))
    inner = curve((wx - 2, wy), (ex - 2.6, ey + 1), (sx - 3, sy + 11))
    hand = curve((wx + 2.2, wy), (wx + 3.2, wy + 5), (wx + 0.5, wy + 9), (wx - 2, wy))
    for side in (1, -1):
        flip = [(side * x, y) for x, y in [*outer, *hand[1:-1], *inner]]
        pen.fill(flip, skin, edge, 0.35)


def draw_legs(pen: Pen, skin: Rgb) -> None:
    """Draw two legs with feet, from the hips down."""
    edge = mix(skin, (0, 0, 0), 0.3)
    shoe = mix(skin, (20, 20, 20), 0.6)
    outer = curve((12.2, 46), (12.2, 54), (10.6, 66), (10.4, 74), (8.6, 87))
    inner = curve((4.6, 87), (4.2, 74), (3.8, 66), (1.2, 52), (1.0, 46))
    for side in (1, -1):
        flip = [(side * x, y) for x, y in [*outer, *inner]]
        pen.fill(flip, skin, edge, 0.35)
        foot = curve((4.4, 86), (3.8, 90), (5.5, 92.6), (9.6, 92.6), (10.4, 90), (8.6, 86))
        pen.fill([(side * x, y) for x, y in foot], shoe)


def draw_trousers(pen: Pen) -> None:
    """Draw neutral trousers, so that a photo of a top does not show bare hips."""
    draw_legs(pen, LEGGINGS)
    right = [(9.2, 36), (12.2, 46), (12.2, 54), (1, 54)]
    pen.fill([*right, (0, 50), *mirror(right)], LEGGINGS)


def draw_waist(pen: Pen, skin: Rgb) -> None:
    """Draw the upper end of a mannequin for trousers and skirts."""
    pen.fill(curve((-9.9, 31), (-9.4, 26.4), (0, 25.2), (9.4, 26.4), (9.9, 31)), skin,
             mix(skin, (0, 0, 0), 0.3), 0.35)  # fmt: skip


def draw_hanger(pen: Pen) -> None:
    """Draw a hanger, for garments without a wearer."""
    wood, metal = (150, 104, 62), (150, 152, 156)
    pen.line(curve((0, -2), (0, -7), (3, -9), (2.5, -12.5), (-1.2, -12.6)), metal, 0.9)
    pen.line([(-13, 4.5), (0, -2), (13, 4.5)], wood, 1.8)
    pen.line([(-13, 4.0), (0, -2.5), (13, 4.0)], lighten(wood, 0.3), 0.5)
