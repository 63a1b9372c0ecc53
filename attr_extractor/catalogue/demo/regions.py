"""Demo catalogue: where in a drawn photo an attribute is to be seen, from the drawings' own lines.

A region holds what any value of the attribute would cover, not only the product's own: a v-neck
is told from a round one also by where its tip is not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attr_extractor.catalogue.demo import body, tops, trims
from attr_extractor.catalogue.demo.pen import Pen
from attr_extractor.catalogue.demo.photo import FRAMES
from attr_extractor.catalogue.demo.scene import SUPERSAMPLING, Scene
from attr_extractor.catalogue.demo.surface import Cloth, Rgb

_INK: Rgb = (0, 0, 0)
_NECKBAND = 2.8  # width of the band along a neckline, in body units


def regions(values: Mapping[str, tuple[str, ...]], scene: Scene) -> dict[str, np.ndarray]:
    """Attribute -> bool [H, W] of the photo that `draw_photo` makes of the same arguments.

    Holds `neck_type`, every neckline with its band, and `sleeve_length`, both arms and the longest
    sleeves; only where the attribute applies, so where it has a value.
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
    cut = tops.FITS[values["fit"][0] if values["fit"] else "slim"]  # as narrow as a dress
    body.draw_arms(pen, _INK, scene.spread)
    tops.draw_sleeves(pen, Cloth(_INK, _INK, None), "long sleeve", cut, scene.spread)
