"""Demo catalogue: sample the attribute values of a product from the schema's lists.

A product depends only on (seed, index), so product i is the same in a catalogue of any size.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from attr_extractor.demo.photo import DRAWN_VALUES
from attr_extractor.demo.surface import Look, contrasts
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.schema import Attribute, Schema

# Ratio between the frequencies of successive values: three values get 43, 32 and 24 %, so that
# "always the most frequent value" is a meaningful baseline but every value has photos.
VALUE_DECAY = 0.75
CATEGORY_DECAY = 0.95
COLOR_DECAY = 0.86
# Share of printed garments with a plain ground; prints on a pattern are rare in practice.
PRINTS_ON_SOLID = 0.6
# Random number streams of one product. None is 0: SeedSequence treats [seed, index] and
# [seed, index, 0] as equal.
STREAM_VALUES, STREAM_TABLE, STREAM_PHOTOS = 1, 2, 3

_PLAIN = {"pattern": "solid", "print_type": "no print", "border": "no border"}


@dataclasses.dataclass(frozen=True)
class Product:
    """A product; `values` maps every attribute to its values, () if it does not apply."""

    index: int
    values: dict[str, tuple[str, ...]]
    look: Look

    @property
    def product_id(self) -> str:
        """Return the product's identifier in the table."""
        return f"p{self.index:05d}"


def stream(seed: int, index: int, *which: int) -> np.random.Generator:
    """Return the random number generator of one product for one purpose."""
    return np.random.default_rng([seed, index, *which])


def draw_product(schema: Schema, seed: int, index: int) -> Product:
    """Sample the true values of product `index`."""
    rng = stream(seed, index, STREAM_VALUES)
    category = _pick(rng, schema[schema.category].values, CATEGORY_DECAY)
    values: dict[str, tuple[str, ...]] = {}
    for attribute in schema.attributes:
        allowed = allowed_values(attribute, category)
        # Drawn even if unused, so that adding or removing an attribute does not change the others.
        u = float(rng.uniform())
        if attribute.name == schema.category:
            values[attribute.name] = (category,)
        elif attribute.name != "color":
            values[attribute.name] = (_pick_at(u, allowed, VALUE_DECAY),) if allowed else ()
    has_print = values.get("print_type", ()) not in ((), (_PLAIN["print_type"],))
    if has_print and rng.uniform() < PRINTS_ON_SOLID and values.get("pattern"):
        values["pattern"] = (_PLAIN["pattern"],)
    values["color"] = _pick_colors(rng, allowed_values(schema["color"], category), values)
    ordered = {name: values[name] for name in schema.names}
    return Product(index, ordered, Look.random(rng))


def allowed_values(attribute: Attribute, category: str) -> list[str]:
    """Return the values allowed for `category`, in schema order; [] if it does not apply."""
    if attribute.applies_to is not None and category not in attribute.applies_to:
        return []
    return attribute.values_by_category.get(category, attribute.values)


def require_drawable(schema: Schema) -> None:
    """Raise InputError if an attribute or a value has no drawing."""
    if schema.category != "category" or "color" not in schema.names:
        raise InputError(
            f"schema {schema.name!r}: the demo requires a category named 'category' "
            "and an attribute 'color'"
        )
    for attribute in schema.attributes:
        drawn = DRAWN_VALUES.get(attribute.name)
        if drawn is None:
            raise InputError(
                f"schema {schema.name!r}: the demo cannot draw the attribute {attribute.name!r}"
                f"{did_you_mean(attribute.name, DRAWN_VALUES)}"
            )
        for value in attribute.values:
            if value not in drawn:
                raise InputError(
                    f"schema {schema.name!r}: the demo cannot draw {attribute.name} = {value!r}"
                    f"{did_you_mean(value, drawn)}"
                )


def _pick_colors(
    rng: np.random.Generator, allowed: list[str], values: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the ground colour, and the accent if a pattern, print or border shows one."""
    ground = _pick(rng, allowed, COLOR_DECAY)
    accents = [color for color in allowed if contrasts(color, ground)]
    accent = _pick(rng, accents, COLOR_DECAY) if accents else None
    shown = any(values.get(name) not in (None, (), (plain,)) for name, plain in _PLAIN.items())
    return (ground, accent) if shown and accent else (ground,)


def _pick(rng: np.random.Generator, options: list[str], decay: float) -> str:
    return _pick_at(float(rng.uniform()), options, decay)


def _pick_at(u: float, options: list[str], decay: float) -> str:
    weights = decay ** np.arange(len(options))
    return options[int(np.searchsorted(np.cumsum(weights) / weights.sum(), u, side="right"))]
