"""report.html of a build: a validation report on the data, to read before training.

This file renders the page and computes its sections on splits, rejected rows and unusable cells.
The page contains no date, so two builds of the same table give the same bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from attr_extractor.labels import UNKNOWN_VALUE, Issue
from attr_extractor.records import near_duplicates, report_labels, report_photos
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.near_duplicates import NearDuplicate
from attr_extractor.records.report_labels import HELD_OUT_ONLY, NEVER_SEEN
from attr_extractor.records.rows import CELLS_LISTED, Findings, Reject
from attr_extractor.schema import Attribute, Schema, fold
from attr_extractor.web import pages

FILE = "report.html"
SECTIONS = (
    ("splits", "Splits"),
    ("rejects", "Left out"),
    ("coverage", "Coverage"),
    ("imbalance", "Imbalance"),
    ("few", "Too few labels"),
    ("values", "Values"),
    ("contradictions", "Contradictions"),
    ("unknown", "Unknown values"),
    ("duplicates", "Duplicates"),
    ("sizes", "Sizes and formats"),
    ("cost", "Disk and hours"),
)
EXAMPLES = 5  # rejects per reason, and cells per contradiction
PAIRS = 25  # near duplicates that are listed
CANDIDATES = 60  # unknown values listed per attribute; a longer list is likely free text


def render(
    schema: Schema,
    manifest: Manifest,
    findings: Findings,
    photos: Mapping[str, pa.Table],
    rejects: Sequence[Reject],
    similar: Sequence[NearDuplicate],
    records: str,
) -> str:
    """Return the page as HTML text.

    Args:
      findings: of the last table.
      photos: the index of each split, in the order of its records.
      rejects: rejected rows and photos.
      similar: held-out photos that resemble a training photo.
      records: the folder that contains the shards.
    """
    identical = report_photos.identical_photos(photos)
    samples = report_photos.sample_photos(schema, manifest, photos, records)
    return pages.render(
        "records/report.html",
        title=f"{schema.name}: {manifest.photos['written']:,} photos, validation report",
        folder="records",
        sections=SECTIONS,
        schema=schema,
        manifest=manifest,
        problems=_problems(schema, manifest, findings, identical),
        few_photos=report_labels.FEW_PHOTOS,
        splits=_splits(manifest, photos),
        rejects=_reject_reasons(rejects),
        coverage=report_labels.coverage(schema, findings),
        imbalance=report_labels.imbalance(schema, manifest),
        rare=report_labels.rare_attributes(schema, manifest),
        samples=samples,
        photos_per_value=report_photos.PHOTOS_PER_VALUE,
        most_read=report_photos.MOST_READ,
        values=report_labels.value_groups(schema, manifest, samples),
        contradictions=contradictions(schema, findings),
        unknown=unknown_values(schema, findings),
        all_cells_listed=sum(findings.issues.values()) == sum(findings.cells.values()),
        cells_listed=CELLS_LISTED,
        identical=identical,
        similar=similar,
        nearest=sorted(similar, key=lambda near: (near.distance, near))[:PAIRS],
        max_distance=near_duplicates.MAX_DISTANCE,
        hash_bits=8 * near_duplicates.HASH_BYTES,
        sizes=report_photos.sizes(photos, manifest),
        cost=report_photos.cost(photos, manifest),
    )


@dataclass(frozen=True)
class Problems:
    """What to look at first."""

    filled: int  # cells of usable rows
    contradictions: int  # filled cells
    unknown: int  # filled cells
    unlearnable: list[str]  # titles of attributes
    never_seen: int  # values
    held_out_only: int  # values
    rare: int  # values with some training photos, but too few
    different_labels: int  # photos of products with different labels
    near_duplicates: list[tuple[str, int, int]]  # split, its near duplicates, its photos


def _problems(
    schema: Schema,
    manifest: Manifest,
    findings: Findings,
    identical: report_photos.IdenticalPhotos,
) -> Problems:
    unusable, unknown = sum(findings.issues.values()), findings.issues.get(UNKNOWN_VALUE, 0)
    rarity = Counter(report_labels.rarity(manifest).tolist())
    return Problems(
        filled=int(findings.states[..., 0].sum()) + unusable,
        contradictions=unusable - unknown,
        unknown=unknown,
        unlearnable=[schema[name].title() for name in report_labels.unlearnable(schema, manifest)],
        never_seen=rarity[NEVER_SEEN],
        held_out_only=rarity[HELD_OUT_ONLY],
        rare=rarity[report_labels.rare()],
        different_labels=identical.different_labels,
        near_duplicates=[
            (split, count, manifest.splits[split].photos)
            for split, count in manifest.near_duplicates.items()
        ],
    )


class SplitSize(NamedTuple):
    """The size of one split."""

    name: str
    products: int
    photos: int
    groups: int
    shards: int
    bytes: int


def _splits(manifest: Manifest, photos: Mapping[str, pa.Table]) -> list[SplitSize]:
    return [
        SplitSize(
            name,
            split.products,
            split.photos,
            pc.count_distinct(photos[name]["group"]).as_py(),
            len(split.shards),
            sum(shard.bytes for shard in split.shards),
        )
        for name, split in manifest.splits.items()
    ]


class RejectReason(NamedTuple):
    """The rows and photos that were rejected for one reason."""

    reason: str
    rejects: int
    examples: list[Reject]


def _reject_reasons(rejects: Sequence[Reject]) -> list[RejectReason]:
    by_reason: dict[str, list[Reject]] = defaultdict(list)
    for reject in rejects:
        by_reason[reject.reason].append(reject)
    reasons = [RejectReason(name, len(of), of[:EXAMPLES]) for name, of in by_reason.items()]
    return sorted(reasons, key=lambda each: (-each.rejects, each.reason))


class Contradiction(NamedTuple):
    """The cells of one attribute that contradict the schema or their row in one way."""

    kind: str
    attribute: str  # title
    cells: int
    most_frequent: list[tuple[str, int]]
    more: int  # distinct cells that are not in `most_frequent`


def contradictions(schema: Schema, findings: Findings) -> list[Contradiction]:
    """Return contradictions by kind and attribute, the most frequent first."""
    cells: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for issue, count in findings.cells.items():
        if issue.kind != UNKNOWN_VALUE:
            cells[issue.kind, issue.attribute][issue.cell] += count
    listed = [
        Contradiction(
            kind,
            schema[name].title(),
            sum(counts.values()),
            _by_count(counts)[:EXAMPLES],
            max(0, len(counts) - EXAMPLES),
        )
        for (kind, name), counts in cells.items()
    ]
    return sorted(listed, key=lambda each: (-each.cells, each.kind, each.attribute))


class UnknownValue(NamedTuple):
    """A value of the table that is not in the schema."""

    cells: int
    spelling: str  # the most frequent one
    nearest: str  # known value; "" if none resembles it


@dataclass(frozen=True)
class UnknownValues:
    """The unknown values of one attribute."""

    name: str
    title: str
    cells: int
    resembling: int  # number of values that resemble a known one
    synonyms: str  # YAML to paste, with the values that resemble a known one
    others: list[UnknownValue]

    @property
    def candidates(self) -> list[tuple[str, int]]:
        """The first `others` with their number of cells."""
        return [(value.spelling, value.cells) for value in self.others[:CANDIDATES]]


def unknown_values(schema: Schema, findings: Findings) -> list[UnknownValues]:
    """Return the unknown values by attribute, the attribute with most of such cells first."""
    listed = [
        UnknownValues(
            name=name,
            title=schema[name].title(),
            cells=sum(value.cells for value in values),
            resembling=sum(bool(value.nearest) for value in values),
            synonyms=synonyms_block(schema[name], values),
            others=[value for value in values if not value.nearest],
        )
        for name, values in _unknown_by_attribute(findings.cells).items()
    ]
    return sorted(listed, key=lambda each: (-each.cells, schema.index[each.name]))


def _unknown_by_attribute(cells: Counter[Issue]) -> dict[str, list[UnknownValue]]:
    """Return unknown values per attribute, sorted by number of cells, descending.

    Spellings that differ only in case, spaces or Unicode form are one value.
    """
    spellings: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    nearest: dict[tuple[str, str], str] = {}
    for issue, count in cells.items():
        if issue.kind == UNKNOWN_VALUE:
            key = issue.attribute, fold(issue.cell)
            spellings[key][issue.cell] += count
            nearest[key] = issue.nearest
    values: dict[str, list[UnknownValue]] = defaultdict(list)
    for (name, folded), counts in spellings.items():
        spelling, _ = _by_count(counts)[0]
        values[name].append(UnknownValue(sum(counts.values()), spelling, nearest[name, folded]))
    return {
        name: sorted(own, key=lambda value: (-value.cells, value.spelling))
        for name, own in values.items()
    }


def synonyms_block(attribute: Attribute, values: Iterable[UnknownValue]) -> str:
    """Return an attribute's `synonyms` as YAML: existing ones, then those of unknown values.

    The mapping is in braces, so that it can be pasted at any indentation.
    """
    lines = [f"  {_quoted(s)}: {_quoted(value)}," for s, value in attribute.synonyms.items()]
    lines += [
        f"  {_quoted(spelling)}: {_quoted(known)},  # {cells} cell{'s' * (cells != 1)}"
        for cells, spelling, known in values
        if known
    ]
    return "\n".join(["synonyms: {", *lines, "}"])


def _quoted(text: str) -> str:
    """Return a YAML scalar in double quotes on one line, so that it is always read as text."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**31)).strip()


def _by_count(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
