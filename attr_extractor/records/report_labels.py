"""Validation report: label coverage, imbalance at three levels, and values too rare to learn.

Coverage counts rows of the table. Imbalance and rarity count training photos, because the loss of
equation 1 is computed over training photos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attr_extractor.records.manifest import Manifest
from attr_extractor.records.report_photos import SamplePhotos
from attr_extractor.records.rows import Findings
from attr_extractor.schema import Schema

# With fewer training photos of a value, the test split (10 % of the products, the training split
# has 80 %) has at most two photos: a learned value cannot be distinguished from chance.
FEW_PHOTOS = 20
MOST_CATEGORIES = 60  # listed individually; the others are summed up
MOST_RANKS = 400  # points of the rank chart; more would be megabytes large and look the same
NEVER_SEEN, HELD_OUT_ONLY = "never seen", "held out only"


@dataclass(frozen=True)
class AttributeCoverage:
    """Rows of the table by what is known of one attribute."""

    title: str
    rows: int
    applicable: int  # rows with a category to which the attribute applies, or without a category
    answered: int
    unusable: int  # filled, but contradictory or unknown
    empty: int
    not_applicable: int  # a known negative


@dataclass(frozen=True)
class CategoryCoverage:
    """Shares of answered rows of one category."""

    name: str
    rows: int
    shares: list[float | None]  # per attribute, over applicable rows; None if there are none


@dataclass(frozen=True)
class Coverage:
    """Rows with a product and a photo by what is known of their attributes."""

    rows: int
    attributes: list[AttributeCoverage]
    other_attributes: list[str]  # titles of all attributes except the category
    categories: list[CategoryCoverage]  # `shares` of `other_attributes`


def coverage(schema: Schema, findings: Findings) -> Coverage:
    """Count answered, empty, unusable and inapplicable rows, by attribute and category."""
    states = findings.states.sum(axis=0)  # [T, 3]
    applicable = (findings.states.sum(axis=2) * _applies(schema)).sum(axis=0)  # [T] rows
    unusable = dict.fromkeys(schema.names, 0)  # among the cells counted individually
    for issue, count in findings.cells.items():
        unusable[issue.attribute] += count
    attributes = []
    for t, attribute in enumerate(schema.attributes):
        answered, not_applicable, missing = states[t].tolist()
        attributes.append(
            AttributeCoverage(
                title=attribute.title(),
                rows=answered + not_applicable + missing,
                applicable=int(applicable[t]),
                answered=answered,
                unusable=unusable[attribute.name],
                empty=missing - unusable[attribute.name],
                not_applicable=not_applicable,
            )
        )
    others = [t for t, name in enumerate(schema.names) if name != schema.category]
    return Coverage(
        rows=int(states[0].sum()),
        attributes=attributes,
        other_attributes=[schema.attributes[t].title() for t in others],
        categories=_by_category(schema, findings, others),
    )


def _by_category(schema: Schema, findings: Findings, others: list[int]) -> list[CategoryCoverage]:
    """Return the coverage of the attributes `others` per category, the largest category first."""
    names = [*schema[schema.category].values, "no known category"]
    applies = _applies(schema)
    rows = findings.states[:, 0].sum(axis=1)  # [C + 1]
    order = [c for c in np.argsort(-rows, kind="stable").tolist() if rows[c]]
    members = [(names[c], [c]) for c in order[:MOST_CATEGORIES]]
    if rest := order[MOST_CATEGORIES:]:
        members.append((f"{len(rest)} smaller categories", rest))
    categories = []
    for name, which in members:
        answered = findings.states[which, :, 0].sum(axis=0)  # [T] rows
        applicable = (rows[which, None] * applies[which]).sum(axis=0)  # [T] rows
        shares = [float(answered[t] / applicable[t]) if applicable[t] else None for t in others]
        categories.append(CategoryCoverage(name, int(rows[which].sum()), shares))
    return categories


def _applies(schema: Schema) -> np.ndarray:
    """Return whether an attribute applies to a category, bool [C + 1, T].

    All attributes apply to the last row, an unknown category.
    """
    starts = [where.start for where in schema.slices.values()]
    applies = np.logical_or.reduceat(schema.allowed, starts, axis=1)
    return np.vstack([applies, np.ones(len(starts), bool)])


def effective_number(counts: Iterable[int]) -> float:
    """Return the effective number of classes, exp(entropy); 0 if all counts are 0."""
    positive = np.array([count for count in counts if count], np.float64)
    if not len(positive):
        return 0.0
    share = positive / positive.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


class Balance(NamedTuple):
    """How evenly photos are spread over classes, at least one of which has a photo."""

    classes: int
    seen: int  # classes with a photo
    largest: int  # photos of the most frequent class
    smallest: int  # photos of the rarest class that was seen
    effective: float  # effective number of classes
    evenness: float | None  # entropy over its maximum; None for a single class

    @property
    def ratio(self) -> float:
        """Largest over smallest."""
        return self.largest / self.smallest


def balance(counts: Iterable[int]) -> Balance | None:
    """Return the balance of the photo counts of classes; None if no class has a photo."""
    counts = list(counts)
    seen = [count for count in counts if count]
    if not seen:
        return None
    effective = effective_number(seen)
    evenness = float(np.log(effective) / np.log(len(counts))) if len(counts) > 1 else None
    return Balance(len(counts), len(seen), max(seen), min(seen), effective, evenness)


class AttributeBalance(NamedTuple):
    """The balance between the values of one attribute."""

    title: str
    values: int
    photos: int  # sum over the values
    most_frequent: str
    rarest: str  # among those seen
    balance: Balance | None


@dataclass(frozen=True)
class Ranks:
    """Training photos of all values by rank, on a logarithmic axis."""

    values: int
    unseen: int  # values without a training photo
    points: list[tuple[int, float]]  # rank from 0, log10 of the photos
    top: int  # log10 at the upper end of the axis
    few: float | None  # log10 of FEW_PHOTOS; None if it is above the axis


@dataclass(frozen=True)
class Imbalance:
    """Training photos per category, per attribute and per value."""

    categories: Balance | None
    largest_categories: list[tuple[str, int]]
    smaller_categories: int  # number of categories that are not listed
    attributes: Balance | None
    answered: list[tuple[str, int]]  # photos by title of the attribute
    values: list[AttributeBalance]
    ranks: Ranks | None  # None if no value has a photo


def imbalance(schema: Schema, manifest: Manifest) -> Imbalance:
    """Return the imbalance of categories, of attributes, and of the values of each attribute."""
    labels = manifest.splits["train"].labels
    categories = _by_count(labels[schema.category].present.items())
    answered = _by_count((a.title(), labels[a.name].answered) for a in schema.attributes)
    values = []
    for attribute in schema.attributes:
        counts = _by_count(labels[attribute.name].present.items())
        seen = [value for value, count in counts if count] or [""]
        values.append(
            AttributeBalance(
                attribute.title(),
                len(counts),
                sum(count for _, count in counts),
                seen[0],
                seen[-1],
                balance(count for _, count in counts),
            )
        )
    return Imbalance(
        categories=balance(count for _, count in categories),
        largest_categories=categories[:MOST_CATEGORIES],
        smaller_categories=len(categories[MOST_CATEGORIES:]),
        attributes=balance(count for _, count in answered),
        answered=answered,
        values=values,
        ranks=_ranks(manifest.present("train")),
    )


def _ranks(present: np.ndarray) -> Ranks | None:
    seen = np.sort(present[present > 0])[::-1]
    if not len(seen):
        return None
    shown = np.arange(len(seen))
    if len(seen) > MOST_RANKS:
        shown = np.unique(np.geomspace(1, len(seen), MOST_RANKS).astype(int)) - 1
    photos = np.log10(seen[shown])
    top, few = max(1, int(np.ceil(photos[0]))), float(np.log10(FEW_PHOTOS))
    return Ranks(
        values=len(present),
        unseen=len(present) - len(seen),
        points=list(zip(shown.tolist(), photos.tolist())),
        top=top,
        few=few if few <= top else None,
    )


def rare() -> str:
    """Return the rarity of a value with some training photos, but fewer than FEW_PHOTOS."""
    return f"fewer than {FEW_PHOTOS}"


def rarity(manifest: Manifest) -> np.ndarray:
    """Return object [V]: "" for a value with enough training photos, otherwise the reason."""
    train = manifest.present("train")
    held_out = manifest.present("validation") + manifest.present("test")
    return np.select(
        [train >= FEW_PHOTOS, train > 0, held_out > 0],
        ["", rare(), HELD_OUT_ONLY],
        NEVER_SEEN,
    ).astype(object)


def unlearnable(schema: Schema, manifest: Manifest) -> list[str]:
    """Return the attributes with fewer than two values that have enough training photos."""
    enough = rarity(manifest) == ""
    return [name for name in schema.names if enough[schema.slices[name]].sum() < 2]


class RareAttribute(NamedTuple):
    """An attribute with rare values, and its number of values by rarity."""

    title: str
    learnable: bool
    answered: int  # training photos
    never_seen: int
    held_out_only: int
    rare: int
    enough: int


def rare_attributes(schema: Schema, manifest: Manifest) -> list[RareAttribute]:
    """Return the attributes with rare values, those that cannot be learned first."""
    rarities, labels = rarity(manifest), manifest.splits["train"].labels
    hopeless = set(unlearnable(schema, manifest))
    rows = []
    for attribute in schema.attributes:
        own = rarities[schema.slices[attribute.name]]
        row = RareAttribute(
            attribute.title(),
            attribute.name not in hopeless,
            labels[attribute.name].answered,
            *(int((own == kind).sum()) for kind in (NEVER_SEEN, HELD_OUT_ONLY, rare(), "")),
        )
        if row.enough < len(own) or not row.learnable:
            rows.append(row)
    return sorted(rows, key=lambda row: (row.learnable, row.enough))


class ValueRow(NamedTuple):
    """One value: its photos per split and its sample photos."""

    name: str
    photos: Mapping[str, int]  # by split
    samples: list[int]  # photo numbers
    rarity: str  # "" if there are enough training photos


@dataclass(frozen=True)
class ValueGroup:
    """The values of one attribute, the most frequent first."""

    title: str
    values: list[ValueRow]

    @property
    def rare(self) -> int:
        """Number of values with too few training photos."""
        return sum(bool(value.rarity) for value in self.values)

    @property
    def most(self) -> int:
        """Training photos of the most frequent value, at least 1."""
        return max(1, self.values[0].photos["train"])


def value_groups(schema: Schema, manifest: Manifest, samples: SamplePhotos) -> list[ValueGroup]:
    """Return every value of every attribute."""
    present = {split: manifest.present(split).tolist() for split in manifest.splits}
    rarities, groups = rarity(manifest), []
    for attribute in schema.attributes:
        rows = [
            ValueRow(
                value,
                {split: counts[v] for split, counts in present.items()},
                samples.of_value.get(v, []),
                rarities[v],
            )
            for v, value in enumerate(attribute.values, schema.slices[attribute.name].start)
        ]
        rows.sort(key=lambda row: -row.photos["train"])
        groups.append(ValueGroup(attribute.title(), rows))
    return groups


def _by_count(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(counts, key=lambda item: (-item[1], item[0]))
