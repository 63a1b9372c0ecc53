"""Demo catalogue: draw one photo from attribute values.

Selects the drawing function of the category, the wearer and the visible part of the body. Imports
only Pillow and NumPy.
"""

from __future__ import annotations

import dataclasses
from typing import Mapping

from PIL import Image

from attr_extractor.demo import body, bottoms, long_garments, shoes, surface, tops, trims
from attr_extractor.demo.pen import Pen
from attr_extractor.demo.scene import SUPERSAMPLING, Scene, compose
from attr_extractor.demo.surface import Look
from attr_extractor.demo.tops import Wear

_DRAWINGS = {
    "t-shirt": tops.draw_t_shirt,
    "shirt": tops.draw_shirt,
    "dress": long_garments.draw_dress,
    "shoes": shoes.draw_shoes,
    "jeans": bottoms.draw_jeans,
    "kurta": long_garments.draw_kurta,
    "jacket": tops.draw_jacket,
    "skirt": long_garments.draw_skirt,
    "sari": long_garments.draw_sari,
    "pyjamas": bottoms.draw_pyjamas,
}
# Left, top, right, bottom of the photo, in body units.
_TOP_FRAME = (-34.0, -15.0, 34.0, 59.0)
_FULL_FRAME = (-42.0, -13.0, 42.0, 96.0)
_LOWER_FRAME = (-29.0, 22.0, 29.0, 97.0)
FRAMES = {
    **dict.fromkeys(("t-shirt", "shirt", "jacket"), _TOP_FRAME),
    **dict.fromkeys(("dress", "kurta", "sari"), _FULL_FRAME),
    **dict.fromkeys(("jeans", "skirt", "pyjamas"), _LOWER_FRAME),
    "shoes": (-44.0, 2.0, 51.0, 68.0),
}

# Photo pixels per tile pixel; patterns must stay visible at a model's 80 pixels.
_PATTERN_SCALE = 0.42

# Every value with a drawing, by attribute; a schema must not contain any other value.
DRAWN_VALUES: dict[str, tuple[str, ...]] = {
    "category": tuple(_DRAWINGS),
    "color": tuple(surface.COLORS),
    "pattern": tuple(surface.PATTERNS),
    "print_type": trims.PRINTS,
    "neck_type": tuple(trims.NECKLINES),
    "collar_type": tuple(trims.COLLAR_OPENINGS),
    "sleeve_length": tuple(tops.SLEEVES),
    "fit": tuple(tops.FITS),
    "garment_length": tuple(long_garments.LENGTHS),
    "hem_shape": trims.HEMS,
    "skirt_shape": long_garments.SKIRT_SHAPES,
    "leg_shape": tuple(bottoms.LEG_SHAPES),
    "closure_type": ("buttons", "zip", "drawstring", "elastic", *shoes.CLOSURES),
    "pocket": tuple(trims.POCKETS),
    "border": tuple(trims.BORDERS),
    "belt": tuple(trims.BELTS),
    "wash": bottoms.WASHES,
    "heel_type": tuple(shoes.HEELS),
    "toe_shape": shoes.TOES,
}


def draw_photo(values: Mapping[str, tuple[str, ...]], look: Look, scene: Scene) -> Image.Image:
    """Draw the photo (RGB, `scene.size`) of a product.

    `values` maps attribute -> values. "category" and "color" (ground first, then accent) are
    required; any other missing attribute gets its first drawn value. Deterministic.
    """
    worn = {name: drawn[0] for name, drawn in DRAWN_VALUES.items()}
    worn.update((name, cell[0]) for name, cell in values.items() if cell)
    category = worn["category"]
    frame = FRAMES[category]
    if category == "shoes":  # wider than high
        scene = dataclasses.replace(scene, size=scene.size[::-1])
    # Only shoes may be flipped: a flipped shirt would show mirrored text.
    pen = Pen(scene.layer_size, scene.matrix(frame, may_flip=category == "shoes"))
    cloth = surface.make_cloth(
        values["color"],
        worn["pattern"],
        look,
        scene.layer_size,
        scene.angle,
        scene.scale * SUPERSAMPLING * _PATTERN_SCALE,
    )
    if category in ("shirt", "jacket") and worn["collar_type"] == "hood":
        trims.draw_hood_behind(pen, cloth)
    wear = _put_on(pen, category, scene, look)
    _DRAWINGS[category](pen, cloth, worn, wear)
    return compose(pen.layer, scene)


def _put_on(pen: Pen, category: str, scene: Scene, look: Look) -> Wear:
    """Draw the wearer selected by the scene, if the category allows it; return the `Wear`."""
    person = body.SKINS[scene.tone % len(body.SKINS)]
    mannequin = body.MANNEQUINS[scene.tone % len(body.MANNEQUINS)]
    skin = person if scene.presence < 0.5 else mannequin
    bare = Wear(spread=scene.spread, skin=None, word=look.pattern_variant)
    if category == "shoes":
        return bare
    if FRAMES[category] == _TOP_FRAME and scene.presence > 0.65:
        if scene.presence > 0.82:
            body.draw_hanger(pen)
        return bare
    if FRAMES[category] == _LOWER_FRAME:
        body.draw_legs(pen, skin)
        body.draw_waist(pen, skin)
    else:
        body.draw_legs(pen, skin)
        body.draw_neck_and_torso(pen, skin)
        if FRAMES[category] == _TOP_FRAME:
            body.draw_trousers(pen)
        body.draw_arms(pen, skin, scene.spread)
        if skin == person:
            body.draw_head(pen, skin, scene.tone)
    return dataclasses.replace(bare, skin=skin)
