"""An index of the shop, built once."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from attr_extractor.enrichment.search import build
from tests.conftest import write_table


def search_rows(shop) -> list[dict[str, str]]:
    """Rows of the shop; every ninth lacks its photo, every eighth has the id of the row before."""
    with open(shop.catalogue, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        if i % 9 == 4:
            row["image"] = "images/gone.jpg"
        if i % 8 == 7:
            row["product_id"] = rows[i - 1]["product_id"]
    rows[5]["image"] = ""
    rows[10]["image"] += "|images/gone.jpg|../outside.jpg"
    rows[11]["color"] = "RED | blue"
    rows[12]["color"] = "velvet"
    return rows


@pytest.fixture(scope="session")
def indexed(exported, tmp_path_factory) -> Path:
    """The folder of the index; its table is beside it."""
    folder = tmp_path_factory.mktemp("search")
    table = write_table(folder / "table.csv", search_rows(exported))
    build.build(exported.model, table, folder / "index", exported.path)
    return folder / "index"
