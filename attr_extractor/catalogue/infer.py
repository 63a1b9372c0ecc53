"""Infer a draft schema from any table: which columns are attributes, and their values.

The draft is a YAML file for a person to edit. Nothing uncertain is merged, split or dropped
silently: every guess is a finding or a reason, and both are listed in the file's header.
Imports no TensorFlow. Python loops run over distinct cells, never over rows.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from attr_extractor import ownership, storage
from attr_extractor.catalogue.columns import (
    NUMBER,
    PHOTO,
    Column,
    by_frequency,
    first_few,
    identifier,
    identifiers,
    is_text,
    lists_by_separator,
    one_line,
    only_value,
    read_column,
    reason_to_leave_out,
    sample_of,
    share_matching,
)
from attr_extractor.catalogue.table import IMAGE, PRODUCT_ID
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.schema import SEPARATOR, Attribute, Schema, fold
from attr_extractor.web.formats import percent

CATEGORY_NAMES = (
    "category product_category article_type product_type item_type garment_type clothing_type "
    "item_category kategorie categorie categoria type label class"
).split()
ID_NAMES = "product_id sku id item_id article_id style_id asin uid uuid gtin ean code".split()
IMAGE_WORDS = frozenset("image images img photo photos picture pictures bild foto".split())
PATH_WORDS = frozenset("file filename path url link".split())
ROWS_TO_JUDGE = 20  # rows that a category needs before "never filled" means "does not apply"


@dataclass(frozen=True)
class Draft:
    """An inferred schema with the findings that a person should review before using it."""

    schema: Schema
    rows: int
    attributes: dict[str, Column]  # by attribute name, in schema order
    left_out: dict[str, str]  # column -> why it is not an attribute
    findings: list[str]

    def to_yaml(self) -> str:
        """Return the schema as YAML with comments for its editor; `Schema.parse` restores it."""
        header = [
            f"A first draft, inferred from {self.rows} rows. Check before building records:",
            "- that each attribute is visible in a photo; delete those that are not",
            "- the values: other spellings of a value belong in `synonyms: {spelling: value}`",
            "- `exclusive: false` is for attributes that may have several values per product",
            "- `applies_to`: in other categories an empty cell means absent, not unknown",
            "- `missing_values`: cells that mean missing, in every column",
            *(["Columns left out:"] if self.left_out else []),
            *(f"- {column}: {reason}" for column, reason in self.left_out.items()),
            *(["Found in the table:"] if self.findings else []),
            *(f"- {finding}" for finding in self.findings),
        ]
        lines = [f"# {one_line(line)}" for line in header]
        columns = iter(self.attributes.values())
        for line in self.schema.to_yaml().splitlines():
            if line.startswith("- name: "):
                column = next(columns)
                filled = percent(column.filled, self.rows)
                line += f"  # {filled} filled, {len(column.values)} values"
            lines.append(line)
        return "\n".join(lines) + "\n"

    def write(self, path: str | Path) -> None:
        """Write `to_yaml` atomically; raise InputError if the file exists or cannot be created."""
        with ownership.new_file(path, "--output"):
            storage.write(path, self.to_yaml().encode())

    def summary(self) -> str:
        """Return a compact table of the attributes, then the columns left out and the findings."""
        rows = [("attribute", "column", "values", "filled", "")]
        for attribute, column in zip(self.schema.attributes, self.attributes.values()):
            kind = "exclusive" if attribute.exclusive else "several"
            kind = "category" if attribute.name == self.schema.category else kind
            filled, count = percent(column.filled, self.rows), str(len(column.values))
            rows.append((attribute.name, one_line(column.name), count, filled, kind))
        width = [max(map(len, cells)) for cells in zip(*rows)]
        lines = [
            f"{a:{width[0]}}  {c:{width[1]}}  {v:>{width[2]}}  {f:>{width[3]}}  {k}"
            for a, c, v, f, k in rows
        ]
        notes = [f"left out: {column}: {why}" for column, why in self.left_out.items()]
        notes += [f"check: {finding}" for finding in self.findings]
        return "\n".join([*lines, *map(one_line, notes)])


def infer_schema(
    table: pd.DataFrame,
    name: str,
    category: str | None = None,
    *,
    origin: str = "the catalogue",
    max_values: int = 300,
) -> Draft:
    """Infer a draft schema from a table whose cells are all strings, "" if empty.

    Args:
      name: the schema's name.
      category: the category column; guessed if None.
      origin: the table's name in errors.
      max_values: a column with more values is not an attribute, except the named category.

    Raises:
      InputError: if no product id, photos, attributes or category are found.
    """
    role_columns = _role_columns(table, origin)
    named = None if category is None else _named_category(table, category, role_columns, origin)
    findings = _about_roles(table, role_columns)
    kept: list[Column] = []
    left_out: dict[str, str] = {}
    text: list[str] = []
    for column_name in table.columns.drop(list(role_columns.values())):
        most = len(table) if column_name == named else 20 * max_values
        column = read_column(table[column_name], most)
        why = reason_to_leave_out(column, max_values)
        may_be_one_value = identifier(column_name) in CATEGORY_NAMES and column.distinct == 1
        if why and column_name != named and not may_be_one_value:
            left_out[column_name] = why.reason
            if is_text(column, why):
                text.append(column_name)
        else:
            kept.append(column)
    if not any(column.values for column in kept):
        reasons = "; ".join(f"{column}: {reason}" for column, reason in left_out.items())
        reasons = reasons or "there are no other columns"
        raise InputError(f"{origin}: no column is an attribute ({reasons})")

    the_category = _choose_category(kept, named, len(table), origin, findings)
    single = {c.name for c in kept if c is not the_category and len(c.values) < 2}
    for column in kept:
        if column.name in single:
            left_out[column.name] = only_value(column)
    kept = [column for column in kept if column.name not in single]
    names = identifiers([column.name for column in kept], {*table.columns, PRODUCT_ID, IMAGE})
    category_of_row = table[the_category.name].map(the_category.value_of_cell)
    attributes = []
    for column in kept:
        name_t, applies_to = names[column.name], None
        if column is not the_category:
            filled = table[column.name].isin(list(column.value_of_cell)).to_numpy()
            applies_to = _applies_to(column, filled, category_of_row, the_category, findings)
        attribute = Attribute(
            name=name_t,
            display_name=None if name_t == column.name else one_line(column.name),
            values=list(column.values),
            exclusive=column is the_category or column.several == 0,
            applies_to=applies_to,
            synonyms=column.synonyms,
        )
        attributes.append(attribute)
        findings += _about_values(column)
    sources = [*role_columns.items(), *((names[column.name], column.name) for column in kept)]
    schema = Schema(
        name=name,
        category=names[the_category.name],
        columns={name: column for name, column in sources if name != column},
        missing_values=_missing_values(kept, findings),
        attributes=attributes,
        text=text,
    )
    if text:
        findings.append(f"read as text, beside the photo: {', '.join(map(repr, text))}")
    columns = {names[column.name]: column for column in kept}
    return Draft(schema, len(table), columns, left_out, findings)


def _role_columns(table: pd.DataFrame, origin: str) -> dict[str, str]:
    """Return the columns of `product_id` and `image`."""
    words = {column: set(identifier(column).split("_")) for column in table.columns}

    def image_score(column: str) -> float:
        cells = sample_of(table[column][table[column] != ""])
        photos = cells.str.contains(PHOTO, case=False).mean() if len(cells) else 0.0
        named = bool(words[column] & IMAGE_WORDS) + 0.5 * bool(words[column] & PATH_WORDS)
        if photos > 0.5:
            return 2 + named + (column == IMAGE)
        many = cells.nunique() > 0.5 * len(cells) > 0
        return (column == IMAGE) + 0.5 * (many and bool(words[column] & IMAGE_WORDS))

    scores = {column: image_score(column) for column in table.columns}
    image = max(scores, key=lambda column: scores[column], default="")
    if not image or scores[image] == 0:
        raise InputError(
            f"{origin}: no column contains photos: none is named {IMAGE!r} and no column's cells "
            f"end in .jpg, .png or similar (columns: {', '.join(table.columns)})"
        )
    others = [column for column in table.columns if column.strip() and column != image]
    by_name = {identifier(column): column for column in reversed(others)}
    for hint in ID_NAMES:
        column = by_name.get(hint)
        if column and (hint == PRODUCT_ID or table[column].nunique() > 0.5 * len(table)):
            return {PRODUCT_ID: column, IMAGE: image}
    for column in others:
        short = len(table) > 1 and sample_of(table[column]).str.len().mean() <= 40
        if short and scores[column] < 2 and table[column].is_unique and (table[column] != "").all():
            return {PRODUCT_ID: column, IMAGE: image}
    raise InputError(
        f"{origin}: no column identifies the products: none is named {PRODUCT_ID!r}, 'sku' or "
        f"'id' and none has a unique value in every row (columns: {', '.join(table.columns)})"
    )


def _about_roles(table: pd.DataFrame, role_columns: dict[str, str]) -> list[str]:
    findings = [
        f"{role}: read from {column!r}" for role, column in role_columns.items() if role != column
    ]
    ids, cells = table[role_columns[PRODUCT_ID]], table[role_columns[IMAGE]]
    repeated = int((ids.duplicated() & (ids != "")).sum())
    if repeated:
        findings.append(f"{PRODUCT_ID}: {repeated} rows repeat the id of an earlier row")
    if (empty := int((ids.str.strip() == "").sum())) > 0:
        findings.append(f"{PRODUCT_ID}: {empty} rows have no id")
    if (empty := int((cells.str.strip() == "").sum())) > 0:
        findings.append(f"{IMAGE}: {empty} rows have no photo")
    sample = sample_of(cells[cells != ""])
    if not sample.str.contains(PHOTO, case=False).any():
        findings.append(f"{IMAGE}: no cell ends in .jpg, .png or similar; are these photo files?")
    if sample.str.contains(r"\.\w{3,4}\s*[,;]\s*\S", regex=True).any():
        findings.append(
            f"{IMAGE}: cells seem to list several photos; separate them by '{SEPARATOR}'"
        )
    return findings


def _named_category(
    table: pd.DataFrame, category: str, role_columns: dict[str, str], origin: str
) -> str:
    """Return the category column that the user named, by column name or identifier."""
    columns = [column for column in table.columns if column not in role_columns.values()]
    for column in columns:
        if column == category:
            return column
    for column in columns:
        if identifier(column) == identifier(category):
            return column
    raise InputError(
        f"{origin}: the category {category!r} is not a column{did_you_mean(category, columns)} "
        f"(candidate columns: {', '.join(columns) or 'none'})"
    )


def _choose_category(
    kept: list[Column], named: str | None, rows: int, origin: str, findings: list[str]
) -> Column:
    """Return the named column, else a known name, else the exclusive one with the most values."""
    may_be = {identifier(c.name): c for c in reversed(kept) if c.values and not c.several}
    hinted = [may_be[hint] for hint in CATEGORY_NAMES if hint in may_be]
    hinted = [column for column in hinted if 2 * column.filled > rows]
    filled = [column for column in may_be.values() if column.filled >= 0.9 * rows]
    if named is not None:
        chosen = next(column for column in kept if column.name == named)
        if not chosen.values:
            raise InputError(f"{origin}: the category {named!r} has no filled cell")
    elif hinted:
        chosen = max(hinted, key=lambda column: len(column.values) > 1)
        findings.append(f"the category is {chosen.name!r}, by its name; override with --category")
    elif filled or may_be:
        chosen = max(filled or may_be.values(), key=lambda c: (len(c.values), c.filled))
        findings.append(
            f"the category is {chosen.name!r}, a guess: it has the most values of the columns "
            "that are nearly always filled; override with --category"
        )
    else:
        raise InputError(f"{origin}: no column looks like the category; name it with --category")
    if chosen.several:
        findings.append(
            f"{chosen.name}: {chosen.several} rows are contradictory: they list several categories"
        )
    return chosen


def _applies_to(
    column: Column,
    filled: np.ndarray,
    category_of_row: pd.Series,
    category: Column,
    findings: list[str],
) -> list[str] | None:
    """Return the categories to which an attribute applies; None for all.

    Categories with enough rows but never a value are excluded if at least half of the rows of the
    others have one.
    """
    codes = pd.Categorical(category_of_row, categories=list(category.values)).codes
    known = codes >= 0
    rows = np.bincount(codes[known], minlength=len(category.values))
    values = np.bincount(codes[known], weights=filled[known], minlength=len(category.values))
    never = (rows >= ROWS_TO_JUDGE) & (values == 0)
    if not never.any() or not values.any():
        return None
    names = np.array(list(category.values), dtype=object)
    what = f"{column.name}: never filled for {first_few(names[never])}"
    share = values.sum() / rows[~never].sum()
    if share < 0.5:
        findings.append(f"{what}; only {share:.0%} filled for the others: applies_to not inferred")
        return None
    what += f" ({rows[never].sum()} rows)"
    findings.append(f"{what}, {share:.0%} filled for the others: excluded from applies_to")
    return names[~never].tolist()


def _missing_values(kept: list[Column], findings: list[str]) -> list[str]:
    """Return the words that mean missing, as spelled in the attributes' columns."""
    words: dict[str, str] = {}
    rows_of: Counter[str] = sum((Counter(column.missing) for column in kept), Counter())
    for word in by_frequency(rows_of):
        words.setdefault(fold(word), word)
    for folded, word in words.items():
        rows = {c.name: sum(n for w, n in c.missing.items() if fold(w) == folded) for c in kept}
        seen = [f"{name} ({n} rows)" for name, n in rows.items() if n]
        more = f" and {len(seen) - 5} more" if len(seen) > 5 else ""
        findings.append(
            f"{word!r} counts as missing in {', '.join(seen[:5])}{more}; if it is a value there, "
            "move it from missing_values to values"
        )
    return list(words.values())


def _about_values(column: Column) -> list[str]:
    """Return findings on the values of an attribute that a person should check."""
    findings = []
    for spelling, value in column.synonyms.items():
        findings.append(f"{column.name}: {spelling!r} is read as {value!r}")
    if share_matching(column.sample, NUMBER) >= 0.95:
        findings.append(
            f"{column.name}: numbers ({first_few(column.values)}); does a photo show them?"
        )
    for separator, lists in lists_by_separator(column.values).items():
        findings.append(
            f"{column.name}: {sum(column.values[v] for v in lists)} rows look like lists separated "
            f"by '{separator}' ({first_few(lists)}); if so, separate them by '{SEPARATOR}'"
        )
    if 0 < column.several < 0.01 * column.filled:
        findings.append(f"{column.name}: only {column.several} rows list several values")
    once = [value for value, rows in column.values.items() if rows == 1]
    if once:
        share = f"{len(once)} of {len(column.values)} values"
        findings.append(f"{column.name}: {share} in one row only: {first_few(once)}")
    for value, rows in column.values.items():
        frequent = {fold(v): v for v, n in column.values.items() if n >= 5 * rows}
        close = difflib.get_close_matches(fold(value), frequent, 1, 0.82) if rows <= 2 else []
        if close and re.sub(r"\D", "", close[0]) == re.sub(r"\D", "", fold(value)):
            meant = frequent[close[0]]
            findings.append(f"{column.name}: is {value!r} ({rows}) a misspelt {meant!r}?")
    return findings
