"""Attributes of a photo, their values, exclusivity and applicability.

The paper's tasks t are attributes here and its classes c are values; the category is an attribute
too. All V values of all attributes have one fixed order, the order of `int8[V]` labels and of
`[B, V]` logits; the fingerprint covers what decides the meaning of that order. No TensorFlow here.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Dict, List, Literal, Optional, Union

import numpy as np
import pydantic

from attr_extractor import storage, yaml_files
from attr_extractor.errors import InputError, did_you_mean

NAME = re.compile(r"[a-z][a-z0-9_]*")
SEPARATOR = "|"  # separates the values in a cell


def fold(text: str) -> str:
    """Return the form in which spellings are compared: Unicode NFKC, case folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class Attribute(yaml_files.Model):
    """An attribute of a photo, such as `neck_type`."""

    name: str  # an identifier: a-z, then a-z, 0-9 and _
    display_name: Union[str, Dict[str, str], None] = None  # for people; also by language
    values: List[str] = pydantic.Field(min_length=1)  # in the order of labels and logits
    exclusive: bool = True  # off: a product may have several values, separated by | in the cell
    applies_to: Optional[List[str]] = None  # categories; an empty cell of others: does not apply
    values_by_category: Dict[str, List[str]] = {}  # by category: the values that it may have
    synonyms: Dict[str, str] = {}  # spelling: value
    # of an attribute with several values: whether a value that a filled cell does not list is
    # absent or missing
    unlisted: Literal["absent", "missing"] = "absent"
    weight: float = pydantic.Field(default=1.0, ge=0)  # in the loss
    threshold: float = pydantic.Field(default=0.5, ge=0, le=1)  # of answers before calibration

    @pydantic.field_validator("name")
    @classmethod
    def _name_is_an_identifier(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not an identifier: a-z, then a-z, 0-9 and _ only")
        if name == "error" or name.endswith(("_score", "_bytes")):
            raise ValueError(
                f"{name!r} would collide with an output of the served model; rename it"
            )
        return name

    @pydantic.model_validator(mode="after")
    def _values_are_consistent(self) -> Attribute:
        for value in self.values:
            if not value.strip() or SEPARATOR in value:
                raise ValueError(f"{self.name}: the value {value!r} is empty or contains a '|'")
        _require_distinct(self.values, f"{self.name}: the value")
        _require_distinct(
            [*self.synonyms, *self.values], f"{self.name}: the synonym", or_else="or is a value"
        )
        for spelling, value in self.synonyms.items():
            self._require_value(value, f"the synonym {spelling!r} names")
        for category, values in self.values_by_category.items():
            _require_distinct(values, f"{self.name}: values_by_category.{category}: the value")
            for value in values:
                self._require_value(value, f"values_by_category.{category} names")
            if self.applies_to is not None and category not in self.applies_to:
                raise ValueError(
                    f"{self.name}: values_by_category names {category!r}, not in applies_to"
                )
        if self.exclusive and self.unlisted == "missing":
            raise ValueError(
                f"{self.name}: unlisted: missing requires exclusive: false; "
                "the other values of an exclusive attribute are known to be absent"
            )
        return self

    def _require_value(self, value: str, what: str) -> None:
        if value not in self.values:
            raise ValueError(
                f"{self.name}: {what} the unknown value {value!r}{did_you_mean(value, self.values)}"
            )

    def title(self, language: str = "en") -> str:
        """Return the display name in a language, else in another language, else the name."""
        if isinstance(self.display_name, dict):
            return self.display_name.get(language) or next(iter(self.display_name.values()))
        return self.display_name or self.name

    def value_of(self, cell: str) -> int | None:
        """Return the index of a spelling in `values`, after synonyms and case folding, or None."""
        return self._index.get(fold(cell))

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        index = {fold(value): i for i, value in enumerate(self.values)}
        index.update({fold(s): self.values.index(v) for s, v in self.synonyms.items()})
        return index


class Schema(yaml_files.Model):
    """All attributes of a catalogue, in the order of the V labels."""

    name: str  # of the catalogue
    category: str  # name of the attribute that is the category
    attributes: List[Attribute] = pydantic.Field(min_length=1)  # see below
    columns: Dict[str, str] = {}  # attribute, `product_id` or `image`: another name of its column
    text: List[str] = []  # columns of free text, such as the title; stored beside the photo
    missing_values: List[str] = []  # further cells of attributes that mean "not known"

    @classmethod
    def read(cls, path: str | Path) -> Schema:
        """Return the schema of a YAML file; an InputError names the file, the key and the fix.

        Args:
          path: a file, or the name of a schema of this package, such as `demo`.
        """
        path = yaml_files.find(path, yaml_files.CONFIGS / "schemas", "the schema")
        return yaml_files.validate(cls, yaml_files.read_mapping(path, "the schema file"), str(path))

    @classmethod
    def parse(cls, text: str, origin: str) -> Schema:
        """Return the schema of a YAML text, such as the copy inside a manifest or a SavedModel."""
        return yaml_files.validate(cls, yaml_files.load(text, origin), origin)

    def write(self, path: str | Path) -> None:
        """Write the schema as YAML that `read` restores; see `storage.write` for errors."""
        storage.write(path, self.to_yaml().encode())

    def to_yaml(self) -> str:
        """Return the schema as YAML text without keys at their defaults."""
        return yaml_files.dump(self, defaults=False)

    @pydantic.model_validator(mode="after")
    def _attributes_are_consistent(self) -> Schema:
        names = [attribute.name for attribute in self.attributes]
        _require_distinct(names, "the attribute")
        if self.category not in names:
            raise ValueError(
                f"category: {self.category!r} is not an attribute"
                f"{did_you_mean(self.category, names)}"
            )
        category = self[self.category]
        if not category.exclusive or category.applies_to is not None:
            raise ValueError(f"{category.name}: the category must be exclusive, without applies_to")
        categories = set(category.values)
        for attribute in self.attributes:
            for value in [*(attribute.applies_to or []), *attribute.values_by_category]:
                if value not in categories:
                    raise ValueError(
                        f"{attribute.name}: {value!r} is not a category"
                        f"{did_you_mean(value, category.values)}"
                    )
            for value in [*attribute.values, *attribute.synonyms]:
                if fold(value) in self._missing:
                    raise ValueError(
                        f"missing_values: {value!r} is also a value of {attribute.name}; keep one"
                    )
        known_columns = dict.fromkeys(["product_id", "image", *names])
        for name in self.columns:
            if name not in known_columns:
                raise ValueError(
                    f"columns: {name!r} is not an attribute{did_you_mean(name, known_columns)}"
                )
        if len(set(self.text)) < len(self.text):  # a table tells Title from title
            raise ValueError(f"text: a column appears twice: {', '.join(self.text)}")
        columns = [self.column(name) for name in known_columns]
        for column, count in Counter(columns).items():
            if column in self.text:
                raise ValueError(f"text: the column {column!r} is also that of another name")
            if count > 1:
                raise ValueError(f"columns: the column {column!r} is used for {count} names")
        return self

    def __getitem__(self, name: str) -> Attribute:
        return self.attributes[self.index[name]]

    def column(self, name: str) -> str:
        """Return the table's column of an attribute, of `product_id` or of `image`."""
        return self.columns.get(name, name)

    def is_missing(self, cell: str) -> bool:
        """Return whether each part of a cell is blank or one of missing_values."""
        return all(
            not part.strip() or fold(part) in self._missing for part in cell.split(SEPARATOR)
        )

    @functools.cached_property
    def _missing(self) -> frozenset[str]:
        return frozenset(fold(value) for value in self.missing_values)

    @functools.cached_property
    def names(self) -> list[str]:
        """Names of the T attributes in order."""
        return [attribute.name for attribute in self.attributes]

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Position of each attribute by name."""
        return {attribute.name: t for t, attribute in enumerate(self.attributes)}

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Number of values of each attribute, summing to V."""
        return [len(attribute.values) for attribute in self.attributes]

    @property
    def num_values(self) -> int:
        """V, the number of values of all attributes."""
        return sum(self.sizes)

    @functools.cached_property
    def value_names(self) -> list[str]:
        """`<attribute>=<value>`, V of them in schema order."""
        return [f"{a.name}={value}" for a in self.attributes for value in a.values]

    @functools.cached_property
    def slices(self) -> dict[str, slice]:
        """The slice of the V values that belongs to each attribute."""
        ends = np.cumsum(self.sizes).tolist()
        return {
            attribute.name: slice(end - size, end)
            for attribute, size, end in zip(self.attributes, self.sizes, ends)
        }

    @functools.cached_property
    def attribute_of_value(self) -> np.ndarray:
        """int32[V]: position of the attribute that each value belongs to."""
        return np.repeat(np.arange(len(self.sizes), dtype=np.int32), self.sizes)

    @functools.cached_property
    def exclusive(self) -> np.ndarray:
        """bool[V]: whether each value belongs to an exclusive attribute."""
        return np.repeat([attribute.exclusive for attribute in self.attributes], self.sizes)

    @functools.cached_property
    def allowed(self) -> np.ndarray:
        """bool[C, V]: whether a product of category c may have value v."""
        categories = self[self.category].values
        allowed = np.ones([len(categories), self.num_values], bool)
        for attribute in self.attributes:
            where = self.slices[attribute.name]
            for c, category in enumerate(categories):
                if attribute.applies_to is not None and category not in attribute.applies_to:
                    allowed[c, where] = False
                elif category in attribute.values_by_category:
                    listed = attribute.values_by_category[category]
                    allowed[c, where] = [value in listed for value in attribute.values]
        return allowed

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits over what decides the meaning of `int8[V]`.

        Covers names, values, their order, exclusivity and applicability, and which attribute is
        the category; not display names, synonyms, weights, thresholds, columns or text.
        """
        meaning = [
            self.category,
            [
                [
                    a.name,
                    a.values,
                    a.exclusive,
                    None if a.applies_to is None else sorted(a.applies_to),
                    {c: sorted(v) for c, v in sorted(a.values_by_category.items())},
                ]
                for a in self.attributes
            ],
        ]
        canonical = json.dumps(meaning, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:16]


def require_same(fingerprint: str, expected: Schema, where: str) -> None:
    """Raise InputError if a fingerprint is not that of the expected schema."""
    if fingerprint != expected.fingerprint:
        raise InputError(
            f"{where}: made with another schema (fingerprint {fingerprint}) than {expected.name!r} "
            f"(fingerprint {expected.fingerprint}): use the original schema, or rebuild"
        )


def _require_distinct(texts: Iterable[str], what: str, or_else: str = "") -> None:
    seen: dict[str, str] = {}
    for text in texts:
        if fold(text) in seen:
            first = seen[fold(text)]
            spelling = "appears twice" if first == text else f"is {first!r} in another spelling"
            raise ValueError(f"{what} {text!r} {spelling} {or_else}".rstrip())
        seen[fold(text)] = text
