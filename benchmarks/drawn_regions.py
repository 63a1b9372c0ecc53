"""Regions of a drawn photo of the demo catalogue that show an attribute, from the drawing outlines.

A region covers every value of the attribute, not only that of the product: the absence of a tip
also distinguishes a round neck from a v-neck.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attr_extractor.demo import body, tops, trims
from attr_extractor.demo.pen import Pen
from attr_extractor.demo.photo import FRAMES
from attr_extractor.demo.scene import SUPERSAMPLING, Scene
from attr_extractor.demo.surface import Cloth, Rgb

_INK: Rgb = (0, 0, 0)
_NECKBAND = 2.8  # width of the band along a neckline, in body units


def regions(values: Mapping[str, tuple[str, ...]], scene: Scene) -> dict[str, np.ndarray]:
    """Return attribute -> bool [H, W] mask of `draw_photo`'s photo for the same arguments.

    Contains `neck_type` (every neckline with its band) and `sleeve_length` (both arms and the
    longest sleeves), each only if the attribute applies, that is, has a value.
    """
    found = {}
    for attribute, draw in (("neck_type", _draw_necks), ("sleeve_length", _draw_arms)):
        if values[attribute]:
            frame = FRAMES[values["category"][0]]
            pen = Pen(scene.layer_size, scene.matrix(frame, may_flip=False))
            draw(pen, values, scene)
            alpha = pen.layer.getchannel("A").reduce(SUPERSAMPLING)
            found[attribute] = np.asarray(alpha) > 127
    return found


def _draw_necks(pen: Pen, values: Mapping[str, tuple[str, ...]], scene: Scene) -> None:
    del values, scene
    for line in trims.NECKLINES.values():
        pen.fill(line, _INK)
        pen.line(line, _INK, _NECKBAND)


def _draw_arms(pen: Pen, values: Mapping[str, tuple[str, ...]], scene: Scene) -> None:
    cut = tops.FITS[values["fit"][0] if values["fit"] else "slim"]  # dresses have a slim cut
    body.draw_arms(pen, _INK, scene.spread)
    tops.draw_sleeves(pen, Cloth(_INK, _INK, None), "long sleeve", cut, scene.spread)
