"""Demo catalogue: simulate the faults of real tables - empty cells, contradictions, misspellings
and broken image files. Every kind is seeded; its frequency is a named constant.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attr_extractor.demo.products import Product, allowed_values
from attr_extractor.schema import SEPARATOR, Attribute, Schema, fold

# Shares of applicable cells.
EMPTY_CELLS = 0.15
EMPTY_CATEGORIES = 0.02
NAMED_MISSING_CELLS = 0.01  # "NA" or "-"
MISSPELT_CELLS = 0.01
SYNONYM_CELLS = 0.05  # if the value has a synonym
OTHER_CASE_CELLS = 0.05
# Shares of the products.
FILLED_WHERE_NOT_APPLICABLE = 0.01
TWO_EXCLUSIVE_VALUES = 0.01
SECOND_PHOTOS = 0.1

# Positions within every period whose first photo is broken, and how. Fixed rather than random, so
# that a small catalogue also contains each kind.
BROKEN_PHOTO_PERIOD = 300
BROKEN_PHOTOS: dict[int, str] = {
    17: "truncated JPEG",
    58: "empty file",
    99: "text file",
    140: "PNG named .jpg",  # valid: must be accepted
    181: "no file",
}


def seller_cells(schema: Schema, product: Product, rng: np.random.Generator) -> dict[str, str]:
    """Return attribute -> cell of the table as the seller filled it in."""
    cells = {
        a.name: _seller_cell(schema, a, product.values[a.name], rng) for a in schema.attributes
    }
    category = product.values[schema.category][0]
    exclusive = [a for a in schema.attributes if a.exclusive and a.name != schema.category]
    if rng.uniform() < FILLED_WHERE_NOT_APPLICABLE:
        others = [a for a in exclusive if not allowed_values(a, category)]
        attribute = others[int(rng.integers(len(others)))]
        cells[attribute.name] = _one_of(rng, attribute.values)
    if rng.uniform() < TWO_EXCLUSIVE_VALUES:
        several = [a for a in exclusive if len(allowed_values(a, category)) > 1]
        attribute = several[int(rng.integers(len(several)))]
        true = product.values[attribute.name][0]
        rest = [v for v in allowed_values(attribute, category) if v != true]
        cells[attribute.name] = f"{true}{SEPARATOR}{_one_of(rng, rest)}"
    return cells


def broken_photo(index: int) -> str | None:
    """Return how the first photo of product `index` is broken; None for most."""
    return BROKEN_PHOTOS.get(index % BROKEN_PHOTO_PERIOD)


def write_broken(path: Path, jpeg: bytes, how: str) -> None:
    """Write a broken version of a photo (a valid JPEG) to `path`; nothing for "no file"."""
    if how == "truncated JPEG":
        path.write_bytes(jpeg[: len(jpeg) // 2])
    elif how == "empty file":
        path.write_bytes(b"")
    elif how == "text file":
        path.write_text("photo follows by mail\n", encoding="utf-8")


def _seller_cell(
    schema: Schema, attribute: Attribute, values: tuple[str, ...], rng: np.random.Generator
) -> str:
    missing, kind, spelling = rng.uniform(size=3)
    if not values:
        return ""
    if missing < (EMPTY_CATEGORIES if attribute.name == schema.category else EMPTY_CELLS):
        return ""
    if kind < NAMED_MISSING_CELLS and schema.missing_values:
        return _one_of(rng, schema.missing_values)
    first = values[0]
    if spelling < MISSPELT_CELLS:
        first = _misspelt(attribute, first, rng)
    elif spelling < MISSPELT_CELLS + SYNONYM_CELLS:
        first = _one_of(rng, [s for s, v in attribute.synonyms.items() if v == first] or [first])
    elif spelling < MISSPELT_CELLS + SYNONYM_CELLS + OTHER_CASE_CELLS:
        first = first.title() if rng.uniform() < 0.5 else first.upper()
    return SEPARATOR.join([first, *values[1:]])


def _misspelt(attribute: Attribute, value: str, rng: np.random.Generator) -> str:
    """Return the value with one letter dropped, or replaced if the result would still be known."""
    at = int(rng.integers(1, len(value)))
    for letter in ("", value[at - 1] * 2, "x"):
        wrong = value[:at] + letter + value[at + 1 :]
        if attribute.value_of(fold(wrong)) is None:
            return wrong
    return value


def _one_of(rng: np.random.Generator, options: list[str]) -> str:
    return options[int(rng.integers(len(options)))]
