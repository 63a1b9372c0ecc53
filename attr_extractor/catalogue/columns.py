"""Analyse one column of a table: its kind (words, numbers, photos), values and spellings.

Imports no TensorFlow. Python loops run over distinct cells, never over rows.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import List, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from attr_extractor.catalogue.table import IMAGE, PRODUCT_ID
from attr_extractor.schema import SEPARATOR, fold

Cells = TypeVar("Cells", List[str], pd.Series)

# Words as returned by `fold` and `identifier`, the likeliest first.
MISSING_WORDS = frozenset(
    "na n/a n.a. n.a #n/a #na <na> - -- --- \u2013 \u2014 . ? ?? ??? none null nil nan unknown "
    "undefined unspecified tbd k.a. unbekannt".split()
) | {"not specified", "not available", "not applicable", "not known", "keine angabe"}
ID_WORDS = frozenset("id ids sku asin uid uuid guid gtin ean upc barcode code hash".split())
GROUP_WORDS = frozenset(
    "seller vendor merchant supplier shop store user customer uploader owner photographer "
    "group".split()
)
TEXT_WORDS = frozenset(
    "title titel titre titulo name description beschreibung text headline caption summary".split()
)
SPLIT_NAMES = frozenset("train training val valid validation dev test".split())

PHOTO = r"\.(?:jpe?g|png|webp|bmp|gif|tiff?|heic)(?:\?\S*)?\s*(?:[|,;]|$)"
_DATE = r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[ T][\d:.]+\S*)?"
_CURRENCY = r"[$€£¥₹]|rs\.?|usd|eur|gbp|inr|jpy|cny"
NUMBER = (
    rf"(?:{_CURRENCY})?\s*[-+]?\d[\d.,' ]*(?:e[-+]?\d+)?"
    rf"\s*(?:{_CURRENCY}|%|mm|cm|m|in|kg|g|oz|ml|l)?"
)
# Joints in which spellings of one value differ: "V-Neck", "v neck". Kept between two digits.
_JOINT = re.compile(r"(?<=[^\W\d_])[\s\-_'\u2019.]+(?=\w)|(?<=\w)[\s\-_'\u2019.]+(?=[^\W\d_])")
_TAKEN = ("_score", "_bytes", "_source", "_confidence")  # suffixes of the package's output names
_LETTERS = str.maketrans(dict(zip("äöüßæøłđ", "ae oe ue ss ae o l d".split())))

_SENTENCE = r"(?!https?:).*[^\W\d_]{2,}[^\w/|]+.*[^\W\d_]{2,}.*"  # two words at least

FEW_NUMBERS = 20  # at most this many distinct numbers may be sizes or grades; more: prices, counts
SAMPLE = 2000  # distinct cells examined to determine the kind of a column


@dataclass
class Column:
    """Content of one column, with the spellings of each value merged."""

    name: str
    filled: int  # rows whose cell has a value
    distinct: int
    sample: list[str]
    values: dict[str, int] = field(default_factory=dict)  # rows per value, most frequent first
    synonyms: dict[str, str] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)  # rows per word that means missing
    several: int = 0  # rows that list more than one value
    value_of_cell: dict[str, str] = field(default_factory=dict)  # the first value of a filled cell


def read_column(column: pd.Series, max_distinct: int) -> Column:
    """Return the values of a column; if more than `max_distinct`, only their number."""
    rows = {cell: n for cell, n in Counter(column.tolist()).items() if cell.strip()}
    result = Column(str(column.name), sum(rows.values()), len(rows), sample_of(list(rows)))
    if len(rows) > max_distinct and not any(SEPARATOR in cell for cell in rows):
        return result
    parts_of = {
        cell: [" ".join(part.split()) for part in cell.split(SEPARATOR) if part.strip()]
        for cell in rows
    }
    spelled: Counter[str] = Counter()  # rows of each part as written
    for cell, parts in parts_of.items():
        for part in parts:
            spelled[part] += rows[cell]
    result.distinct = len(spelled)
    if result.distinct > max_distinct:
        return result
    folded = {part: fold(part) for part in spelled}
    is_missing = {part for part in spelled if folded[part] in MISSING_WORDS}
    result.missing = by_frequency({part: spelled[part] for part in is_missing})

    value_of: dict[str, str] = {}  # the most frequent spelling, by the form without joints
    known: set[str] = set()
    for spelling in by_frequency({p: n for p, n in spelled.items() if p not in is_missing}):
        value = value_of.setdefault(_JOINT.sub("", folded[spelling]), spelling)
        if folded[spelling] not in known and folded[spelling] != fold(value):
            result.synonyms[spelling] = value
        known.add(folded[spelling])
    counts: Counter[str] = Counter()
    result.filled = 0
    for cell, parts in parts_of.items():
        named = (_JOINT.sub("", folded[part]) for part in parts if part not in is_missing)
        values = list(dict.fromkeys(value_of[name] for name in named))
        if values:
            result.value_of_cell[cell] = values[0]
            result.filled += rows[cell]
            result.several += rows[cell] * (len(values) > 1)
        for value in values:
            counts[value] += rows[cell]
    result.values = by_frequency(counts)
    result.distinct = len(result.values)
    result.sample = sample_of(list(result.values))
    return result


class LeftOut(NamedTuple):
    """Why a column is not an attribute."""

    reason: str
    has_words: bool = False  # too many different ones, no identifiers, dates or addresses


def reason_to_leave_out(column: Column, max_values: int) -> LeftOut | None:
    """Return why a column is not an attribute; None if it looks like one."""
    words, distinct, filled = identifier(column.name).split("_"), column.distinct, column.filled
    counts = f"{distinct} distinct values in {filled} filled cells"
    if not column.name.strip():
        return LeftOut("it has no name")
    if not column.filled:
        return LeftOut("no cell has a value")
    if "split" in words and {fold(value) for value in column.sample} <= SPLIT_NAMES:
        return LeftOut("looks like a split; use it with --split_column")
    is_group = set(words) - ID_WORDS - {"name"} <= GROUP_WORDS and bool(set(words) & GROUP_WORDS)
    if is_group or (words[-1] in ID_WORDS and distinct > FEW_NUMBERS):
        if 1.5 * distinct <= filled:
            return LeftOut(f"looks like a group: {distinct} values; use it with --group_column")
        return LeftOut(f"identifiers: {counts}")
    kinds = {"web addresses": r"https?://\S+", "dates": _DATE, "photo files": rf".*{PHOTO}.*"}
    for kind, pattern in {**kinds, "numbers": NUMBER}.items():
        if share_matching(column.sample, pattern) >= 0.95 and (
            kind in kinds or distinct > FEW_NUMBERS
        ):
            return LeftOut(f"{kind}: {counts}")
    if distinct > FEW_NUMBERS and np.mean([len(text.split()) for text in column.sample]) > 6:
        return LeftOut(f"free text: {counts}", has_words=True)
    if distinct > max_values or 2 * distinct > filled:
        lists = lists_by_separator(dict.fromkeys(column.sample, 1))
        hint = f"; they look like lists: separate them by '{SEPARATOR}'" if lists else ""
        return LeftOut(counts + hint, has_words=True)
    return LeftOut(only_value(column)) if distinct == 1 else None


def only_value(column: Column) -> str:
    """Return the reason for leaving out a column with one value."""
    return f"only one value, {next(iter(column.values), '')!r}"


def is_text(column: Column, left_out: LeftOut) -> bool:
    """Return whether a column that is not an attribute is text about the product."""
    if not left_out.has_words:
        return False
    named = not TEXT_WORDS.isdisjoint(identifier(column.name).split("_"))
    several = 0.5 if named else 0.9
    return len(column.sample) > 1 and share_matching(column.sample, _SENTENCE) >= several


def lists_by_separator(values: dict[str, int]) -> dict[str, list[str]]:
    """Return the values that look like lists, by separator (`,` `;` or `/`): their parts recur."""
    alone = {fold(value) for value in values}
    found = {}
    for separator in ",;/":
        fraction = re.compile(rf"\d\s*{separator}\s*\d")
        listed = [v for v in values if separator in v and not fraction.search(v)]
        parts = Counter(fold(part) for v in listed for part in v.split(separator) if part.strip())
        again = sum(n for part, n in parts.items() if n > 1 or part in alone)
        if len(listed) > 1 and 2 * again >= sum(parts.values()) > 0:
            found[separator] = listed
    return found


def identifier(column: str) -> str:
    """Convert `Neck Type` or `neckType` to `neck_type`, a name valid in schema and TensorFlow."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", column)
    text = unicodedata.normalize("NFKC", text).lower().translate(_LETTERS)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"[^a-z0-9]+", "_", text).strip("_") or "attribute"
    return text if text[0].isalpha() else f"attribute_{text}"


def identifiers(columns: list[str], taken: set[str]) -> dict[str, str]:
    """Return a unique identifier for every column; none equals the name of another column."""
    names = {}
    last: dict[str, int] = {}  # the last number appended to each name
    for column in columns:
        name = identifier(column)
        if name in (PRODUCT_ID, IMAGE, "error") or name.endswith(_TAKEN):
            name += "_value"
        free, number = name, last.get(name, 1)
        while free != column and free in taken:
            number += 1
            free = f"{name}_{number}"
        last[name] = number
        names[column] = free
        taken.add(free)
    return names


def by_frequency(rows: Mapping[str, int]) -> dict[str, int]:
    """Sort rows per text by descending frequency, then alphabetically."""
    return dict(sorted(rows.items(), key=lambda x: (-x[1], x[0])))


def sample_of(cells: Cells) -> Cells:
    """Return at most `SAMPLE` cells, evenly spaced from the first."""
    return cells[:: -(-len(cells) // SAMPLE) or 1]


def share_matching(texts: Iterable[str], pattern: str) -> float:
    """Return the share of texts that a pattern fully matches."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return float(np.mean([bool(compiled.fullmatch(text.strip())) for text in texts] or [False]))


def first_few(values: Iterable[str], most: int = 5) -> str:
    """Return the first `most` values, quoted, for a message."""
    values = list(values)
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(repr, values[:most])) + more


def one_line(text: str) -> str:
    """Replace line breaks and control characters, which YAML rejects even in comments."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
