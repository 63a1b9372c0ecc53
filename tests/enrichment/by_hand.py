"""Write cells files for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from attr_extractor.enrichment import cells


def cell(row: int = 1, attribute: str = "neck_type", **changes: Any) -> dict[str, Any]:
    """Return a contradicted cell of the shop's product p000, p001, ...: v-neck, not round neck."""
    made = {
        "row": row,
        "product_id": f"p{row - 1:03d}",
        "seller": "",
        "category": "shirt",
        "attribute": attribute,
        "given": "v-neck",
        "given_score": 0.1,
        "answer": "round neck",
        "proposed": ["round neck", "no neck", "v-neck"],
        "proposed_scores": [0.9, 0.2, 0.1],
        "verdict": cells.CONTRADICTED,
        "image": f"images/{row - 1:03d}_0.jpg",
        "box": "",
        "told_by": "",
        "error": "",
    }
    return {**made, **changes}


def color(row: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a contradicted cell of the attribute that may have several values."""
    made = {"given": "red", "answer": "blue|green", "proposed": ["blue", "green", "red"]}
    return cell(row, "color", **{**made, **changes})


def write_cells(path: Path, rows: list[dict[str, Any]], row_group: int = 1000) -> Path:
    """Write a cells file of these rows."""
    pq.write_table(pa.Table.from_pylist(rows, cells.SCHEMA), path, row_group_size=row_group)
    return path
