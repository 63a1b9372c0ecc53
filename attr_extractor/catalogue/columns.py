"""What one column of a table holds: words, numbers, photos; its values with their spellings.

No TensorFlow here; loops in Python run over distinct cells, never over rows.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from attr_extractor.catalogue.table import IMAGE, PRODUCT_ID
from attr_extractor.schema import SEPARATOR, fold

# Words in the forms that `fold` and `identifier` give them, the likeliest first.
MISSING_WORDS = frozenset(
    "na n/a n.a. n.a #n/a #na <na> - -- --- \u2013 \u2014 . ? ?? ??? none null nil nan unknown "
    "undefined unspecified tbd k.a. unbekannt".split()
) | {"not specified", "not available", "not applicable", "not known", "keine angabe"}
ID_WORDS = frozenset("id ids sku asin uid uuid guid gtin ean upc barcode code hash".split())
GROUP_WORDS = frozenset(
    "seller vendor merchant supplier shop store user customer uploader owner photographer "
    "group".split()
)
SPLIT_NAMES = frozenset("train training val valid validation dev test".split())

PHOTO = r"\.(?:jpe?g|png|webp|bmp|gif|tiff?|heic)(?:\?\S*)?\s*(?:[|,;]|$)"
_DATE = r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[ T][\d:.]+\S*)?"
_CURRENCY = r"[$€£¥₹]|rs\.?|usd|eur|gbp|inr|jpy|cny"
NUMBER = (
    rf"(?:{_CURRENCY})?\s*[-+]?\d[\d.,' ]*(?:e[-+]?\d+)?"
    rf"\s*(?:{_CURRENCY}|%|mm|cm|m|in|kg|g|oz|ml|l)?"
)
# What parts two spellings of one value: "V-Neck", "v neck". Between two digits it means something.
_JOINT = re.compile(r"(?<=[^\W\d_])[\s\-_'\u2019.]+(?=\w)|(?<=\w)[\s\-_'\u2019.]+(?=[^\W\d_])")
_TAKEN = ("_score", "_bytes", "_source", "_confidence")  # endings of what the package answers
_LETTERS = str.maketrans(dict(zip("äöüßæøłđ", "ae oe ue ss ae o l d".split())))

FEW_NUMBERS = 20  # up to so many distinct numbers may be sizes or grades; more are prices or counts
SAMPLE = 2000  # distinct cells that are looked at to tell what kind of text a column holds


@dataclass
class Column:
    """What one column holds, the spellings of a value put together."""

    name: str
    filled: int  # rows whose cell says something
    distinct: int
    sample: list[str]
    values: dict[str, int] = field(default_factory=dict)  # rows per value, most frequent first
    synonyms: dict[str, str] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)  # rows per word that means missing
    several: int = 0  # rows that list more than one value
    value_of_cell: dict[str, str] = field(default_factory=dict)  # the first value of a filled cell


def read_column(column: pd.Series, max_distinct: int) -> Column:
    """The values of a column; only counted where there are more than `max_distinct`."""
    rows = column.value_counts(sort=False)
    rows = rows[rows.index.str.strip() != ""]
    cells = rows.index
    sample = sample_of(cells.to_series()).tolist()
    result = Column(str(column.name), int(rows.sum()), len(rows), sample)
    if len(rows) > max_distinct and not cells.str.contains(SEPARATOR, regex=False).any():
        return result
    parts = pd.DataFrame({"cell": cells, "part": cells.str.split(SEPARATOR), "rows": rows.array})
    parts = parts.explode("part", ignore_index=True)
    parts["part"] = parts["part"].str.split().str.join(" ")
    parts = parts[parts["part"] != ""]
    result.distinct = parts["part"].nunique()
    if result.distinct > max_distinct:
        return result
    parts["folded"] = parts["part"].map({part: fold(part) for part in parts["part"].unique()})
    is_missing = parts["folded"].isin(MISSING_WORDS)
    result.missing = by_frequency(parts[is_missing].groupby("part")["rows"].sum())
    parts = parts[~is_missing].copy()

    value_of: dict[str, str] = {}  # the most frequent spelling, by what it shares with the others
    known: set[str] = set()
    for spelling in by_frequency(parts.groupby("part")["rows"].sum()):
        value = value_of.setdefault(_JOINT.sub("", fold(spelling)), spelling)
        if fold(spelling) not in known and fold(spelling) != fold(value):
            result.synonyms[spelling] = value
        known.add(fold(spelling))
    parts["value"] = parts["folded"].map({f: value_of[_JOINT.sub("", f)] for f in known})
    parts = parts.drop_duplicates(["cell", "value"])
    result.values = by_frequency(parts.groupby("value")["rows"].sum())
    per_cell = parts.groupby("cell", sort=False).agg({"value": ["first", "size"], "rows": "first"})
    first = per_cell["value", "first"]
    result.value_of_cell = dict(zip(first.index.astype(str), first))
    result.filled = int(per_cell["rows", "first"].sum())
    result.several = int(per_cell["rows", "first"][per_cell["value", "size"] > 1].sum())
    result.distinct = len(result.values)
    result.sample = sample_of(pd.Series(list(result.values), dtype=object)).tolist()
    return result


def reason_to_leave_out(column: Column, max_values: int) -> str | None:
    """Why a column is no attribute; None where it looks like one."""
    words, distinct, filled = identifier(column.name).split("_"), column.distinct, column.filled
    counts = f"{distinct} distinct values in {filled} filled cells"
    if not column.name.strip():
        return "it has no name"
    if not column.filled:
        return "no cell says anything"
    if "split" in words and {fold(value) for value in column.sample} <= SPLIT_NAMES:
        return "looks like a split; use it with --split_column"
    is_group = set(words) - ID_WORDS - {"name"} <= GROUP_WORDS and bool(set(words) & GROUP_WORDS)
    if is_group or (words[-1] in ID_WORDS and distinct > FEW_NUMBERS):
        if 1.5 * distinct <= filled:
            return f"looks like a group: {distinct} values; use it with --group_column"
        return f"identifiers: {counts}"
    kinds = {"web addresses": r"https?://\S+", "dates": _DATE, "photo files": rf".*{PHOTO}.*"}
    for kind, pattern in {**kinds, "numbers": NUMBER}.items():
        if share_matching(column.sample, pattern) >= 0.95 and (
            kind in kinds or distinct > FEW_NUMBERS
        ):
            return f"{kind}: {counts}"
    if distinct > FEW_NUMBERS and np.mean([len(text.split()) for text in column.sample]) > 6:
        return f"free text: {counts}"
    if distinct > max_values or 2 * distinct > filled:
        lists = lists_by_separator(dict.fromkeys(column.sample, 1))
        return counts + (f"; they look like lists: part them by '{SEPARATOR}'" if lists else "")
    return f"only one value, {next(iter(column.values), '')!r}" if distinct == 1 else None


def lists_by_separator(values: dict[str, int]) -> dict[str, list[str]]:
    """The values that look like lists parted by `,` `;` or `/`: their parts come back elsewhere."""
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
    """`Neck Type` and `neckType` as `neck_type`; a name that the schema and TensorFlow accept."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", column)
    text = unicodedata.normalize("NFKC", text).lower().translate(_LETTERS)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"[^a-z0-9]+", "_", text).strip("_") or "attribute"
    return text if text[0].isalpha() else f"attribute_{text}"


def identifiers(columns: list[str], taken: set[str]) -> dict[str, str]:
    """Another identifier for every column, none of them the name of another column."""
    names = {}
    last: dict[str, int] = {}  # number of each name
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


def by_frequency(rows: pd.Series) -> dict[str, int]:
    """Rows per text as a dict, the most frequent first, then by the alphabet."""
    return dict(sorted(((str(t), int(n)) for t, n in rows.items()), key=lambda x: (-x[1], x[0])))


def sample_of(cells: pd.Series) -> pd.Series:
    """At most `SAMPLE` cells, evenly from the first to the last."""
    return cells.iloc[:: -(-len(cells) // SAMPLE) or 1]


def share_matching(texts: Iterable[str], pattern: str) -> float:
    """The share of texts that a pattern matches from end to end."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return float(np.mean([bool(compiled.fullmatch(text.strip())) for text in texts] or [False]))


def first_few(values: Iterable[str], most: int = 5) -> str:
    """The first of some values, quoted, for a message."""
    values = list(values)
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(repr, values[:most])) + more


def one_line(text: str) -> str:
    """Text without line breaks and control characters, which YAML refuses in comments too."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def percent(part: int, whole: int) -> str:
    """`94 %`; never 100 % or 0 % of what is not all or nothing."""
    rounded = round(100 * part / whole)
    return f"{min(max(rounded, int(part > 0)), 99 + (part == whole))} %"
