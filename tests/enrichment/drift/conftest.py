"""Random catalogues of independent products and photos; each seed gives another delivery.

The shop that all tests share cannot test false alarms: its photos repeat, and identical photos are
in one split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.records.by_hand import build


def drawn_rows(folder: Path, count: int, seed: int) -> list[dict[str, str]]:
    """Return rows with a photo of noise each."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(count):
        shirt = rng.random() < 0.6
        colors = rng.choice(["red", "green", "blue"], rng.choice([1, 2]), replace=False)
        image = f"images/{i}.jpg"
        blocks = rng.integers(0, rng.integers(100, 255), [6, 6, 3]).astype(np.uint8)
        size = (int(rng.integers(66, 90)), int(rng.integers(66, 90)))
        Image.fromarray(blocks).resize(size).save(folder / image, quality=90)
        rows.append(
            {
                "product_id": f"{seed}-{i}",
                "image": image,
                "category": "shirt" if shirt else "jeans",
                "neck_type": rng.choice(["v-neck", "round neck"], p=[0.3, 0.7]) if shirt else "",
                "color": "" if rng.random() < 0.2 else "|".join(colors),
                "closure": rng.choice(["button", "zip"]),
            }
        )
    return rows


@pytest.fixture(scope="session")
def drawn(schema, tmp_path_factory) -> Path:
    """Build records of 400 products."""
    folder = tmp_path_factory.mktemp("drawn")
    return build(folder, drawn_rows(folder, 400, 0), schema, split_fractions=(0.5, 0.4, 0.1))
