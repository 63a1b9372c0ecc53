"""Demo catalogue: draw tops - t-shirt, shirt, jacket - and the sleeves and bodices that longer
garments share.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from attr_extractor.demo import trims
from attr_extractor.demo.body import arm_line
from attr_extractor.demo.pen import Pen, Points, curve, mirror
from attr_extractor.demo.surface import Cloth, Rgb, mix

HEM = 48.0  # y of the hem of a top, in body units


@dataclasses.dataclass(frozen=True)
class Cut:
    """Half widths of a fit, in body units."""

    chest: float
    waist: float
    hem: float
    sleeve: float


FITS: dict[str, Cut] = {
    "regular": Cut(chest=14.5, waist=14.5, hem=15.5, sleeve=4.6),
    "slim": Cut(chest=12.4, waist=10.0, hem=13.2, sleeve=3.7),
    "loose": Cut(chest=18.5, waist=20.5, hem=22.5, sleeve=6.8),
}
# Fraction of the arm covered by a sleeve.
SLEEVES: dict[str, float] = {"short sleeve": 0.4, "long sleeve": 0.97, "sleeveless": 0.0}


@dataclasses.dataclass(frozen=True)
class Wear:
    """Presentation of the product: the photo parameters that garment drawings depend on."""

    spread: float  # of the arms, 0 .. 1
    skin: Rgb | None  # colour of person or mannequin; None: on a hanger or laid flat
    word: int  # index of the word in a text print


def draw_sleeves(pen: Pen, cloth: Cloth, sleeve_length: str, cut: Cut, spread: float) -> None:
    """Draw both sleeves; call before drawing the bodice, which covers their upper ends."""
    share = SLEEVES[sleeve_length]
    if not share:
        return
    shoulder, elbow, wrist = (np.asarray(p) for p in arm_line(spread))
    upper = np.linalg.norm(elbow - shoulder)
    total = upper + np.linalg.norm(wrist - elbow)
    reach = share * total
    bend = elbow if reach > upper else shoulder + (elbow - shoulder) * reach / upper
    end = elbow + (wrist - elbow) * (reach - upper) / (total - upper) if reach > upper else bend
    drop = max(0.0, cut.chest - 14.5) * 0.6  # loose shoulders extend over the arm
    outer = [(11.0, 3.0), (shoulder[0] + 2.0 + drop, shoulder[1] - 0.2)]
    inner = [(cut.chest - 2.5, 13.0 + 2 * cut.sleeve)]
    if reach > upper:
        outer.append((elbow[0] + cut.sleeve, elbow[1] - 1))
        inner.insert(0, (elbow[0] - cut.sleeve + 0.6, elbow[1] + 2))
    axis = (end - shoulder) if reach <= upper else (end - elbow)
    axis = axis / np.linalg.norm(axis)
    across = np.asarray([axis[1], -axis[0]])  # towards the outer side
    wide = cut.sleeve * (0.82 if reach > upper else 1.12)
    far, near = end + across * wide, end - across * wide
    back = axis * 2.4
    for side in (1, -1):
        shape = [(side * x, y) for x, y in [*outer, tuple(far), tuple(near), *inner]]
        pen.cloth(shape, cloth)
        cuff = [far, near, near - back, far - back]
        pen.fill([(side * x, y) for x, y in cuff], cloth.trim, cloth.ink, 0.5)


def bodice(opening: Points, cut: Cut, sleeveless: bool) -> list[tuple[float, float]]:
    """Return the outline from the left waist over the neck opening to the right waist."""
    drop = max(0.0, cut.chest - 14.5) * 0.6
    tip = (12.6, 3.4) if sleeveless else (15.0 + drop, 5.0 + 0.4 * drop)
    armhole = curve(tip, (cut.chest - (2.6 if sleeveless else 1.2), 11), (cut.chest, 17))
    side = [*armhole, (cut.waist, 32.0)]
    return [*mirror(side), *opening, *side]


def draw_opening(pen: Pen, cloth: Cloth, opening: Points, wear: Wear) -> None:
    """Draw the inner side of the back, visible through the neck opening without a wearer."""
    if wear.skin is None:
        pen.fill([*opening, *curve(opening[-1], (0, 1.6), opening[0])], cloth.inside, cloth.ink)


def draw_armhole_seams(pen: Pen, cloth: Cloth, cut: Cut, sleeveless: bool) -> None:
    """Draw the armhole seams, or bindings if there are no sleeves."""
    drop = max(0.0, cut.chest - 14.5) * 0.6
    if sleeveless:
        seam = curve((12.6, 3.4), (cut.chest - 2.6, 11), (cut.chest, 17))
    else:
        seam = curve((15.0 + drop, 5.0 + 0.4 * drop), (cut.chest - 1.2, 11), (cut.chest, 17))
    for line in (seam, mirror(seam)):
        pen.line(line, cloth.trim if sleeveless else cloth.ink, 1.3 if sleeveless else 0.5)


def draw_t_shirt(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw a t-shirt with its neckline, sleeves and print."""
    cut, sleeve = FITS[values["fit"]], values["sleeve_length"]
    opening = trims.NECKLINES[values["neck_type"]]
    draw_sleeves(pen, cloth, sleeve, cut, wear.spread)
    hem = trims.hem_line(values["hem_shape"], cut.hem, HEM)
    pen.cloth([*bodice(opening, cut, sleeve == "sleeveless"), *hem], cloth)
    draw_opening(pen, cloth, opening, wear)
    draw_armhole_seams(pen, cloth, cut, sleeve == "sleeveless")
    pen.line([(x * 0.985, y - 1.5) for x, y in hem], cloth.ink, 0.4)
    trims.draw_neck(pen, cloth, values["neck_type"])
    trims.draw_print(pen, cloth, values["print_type"], 30.0, 8.6, wear.word)


def draw_shirt(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw a shirt with its collar, sleeves, pocket and closure."""
    cut, sleeve = FITS[values["fit"]], values["sleeve_length"]
    opening = trims.COLLAR_OPENINGS[values["collar_type"]]
    draw_sleeves(pen, cloth, sleeve, cut, wear.spread)
    hem = trims.hem_line(values["hem_shape"], cut.hem, HEM + 1)
    pen.cloth([*bodice(opening, cut, sleeve == "sleeveless"), *hem], cloth)
    draw_opening(pen, cloth, opening, wear)
    draw_armhole_seams(pen, cloth, cut, sleeve == "sleeveless")
    top = max(y for _, y in opening) - 0.5
    trims.draw_front_closure(pen, cloth, values["closure_type"], top, middle_of(hem))
    trims.draw_pockets(pen, cloth, values["pocket"], 0.56 * cut.chest, 18.5, 7.6)
    trims.draw_collar(pen, cloth, values["collar_type"])


def draw_jacket(pen: Pen, cloth: Cloth, values: dict[str, str], wear: Wear) -> None:
    """Draw a jacket; unlike a shirt it has a yoke, a broad ribbed hem and lower pockets."""
    cut, sleeve = FITS[values["fit"]], values["sleeve_length"]
    opening = trims.COLLAR_OPENINGS[values["collar_type"]]
    draw_sleeves(pen, cloth, sleeve, cut, wear.spread)
    hem = trims.hem_line("straight", cut.hem, HEM)
    pen.cloth([*bodice(opening, cut, sleeve == "sleeveless"), *hem], cloth)
    draw_opening(pen, cloth, opening, wear)
    draw_armhole_seams(pen, cloth, cut, sleeve == "sleeveless")
    yoke = mix(cloth.trim, cloth.base, 0.3)
    w = cut.chest - 1.2
    pen.fill([(-w, 11), (-13.6, 4.4), (-7, 0.5), (0, 9), (7, 0.5), (13.6, 4.4), (w, 11), (0, 15)],
             yoke, cloth.ink, 0.4)  # fmt: skip
    rib = [(cut.hem + 0.3, HEM), (-cut.hem - 0.3, HEM), (-cut.hem + 0.6, HEM - 5),
           (cut.hem - 0.6, HEM - 5)]  # fmt: skip
    pen.fill(rib, cloth.trim, cloth.ink, 0.6)
    for k in range(13):
        x = (k / 6 - 1) * (cut.hem - 1)
        pen.line([(x, HEM - 0.6), (x * 0.97, HEM - 4.4)], cloth.ink, 0.35)
    top = max(y for _, y in opening) - 0.5
    trims.draw_front_closure(pen, cloth, values["closure_type"], top, HEM)
    trims.draw_pockets(pen, cloth, values["pocket"], 0.56 * cut.waist, 30.0, 8.4)
    trims.draw_collar(pen, cloth, values["collar_type"])


def middle_of(hem: Points) -> float:
    """Return y of a hem at the middle of the front."""
    return float(np.mean([y for x, y in hem if abs(x) == min(abs(px) for px, _ in hem)]))
