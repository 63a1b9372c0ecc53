"""The validation report on cells that could not be used: contradictions and unknown values.

Unknown values near a known one come as a `synonyms` entry to paste into the schema, the others as
candidates for new values.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import yaml

from attr_extractor.html_page import Markup, escape, search, table
from attr_extractor.labels import UNKNOWN_VALUE, Issue
from attr_extractor.records.rows import CELLS_LISTED, Findings
from attr_extractor.schema import Attribute, Schema, fold

EXAMPLES = 5  # cells shown of one contradiction
CANDIDATES = 60  # values shown per attribute: a longer list is free text, not a set of values


def unusable(schema: Schema, findings: Findings) -> dict[str, int]:
    """Cells per attribute that could not be used, of those that were counted one by one."""
    counts = dict.fromkeys(schema.names, 0)
    for issue, count in findings.cells.items():
        counts[issue.attribute] += count
    return counts


def contradictions(schema: Schema, findings: Findings) -> Markup:
    """Contradictions by kind and attribute with the most frequent cells."""
    total = sum(count for kind, count in findings.issues.items() if kind != UNKNOWN_VALUE)
    if not total:
        return Markup("<p>None: no cell contradicts the schema or its row's category.</p>")
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for issue, count in findings.cells.items():
        if issue.kind != UNKNOWN_VALUE:
            found[issue.kind, issue.attribute][issue.cell] += count
    rows = [
        (kind, schema[name].title(), sum(cells.values()), _examples(cells))
        for (kind, name), cells in found.items()
    ]
    rows.sort(key=lambda row: (-row[2], row[:2]))
    text = (
        f"<p>{total:,} filled cells cannot be right as they stand. Each costs its attribute for "
        "that row (the label is missing); the rest of the row stands. If sellers are right and the "
        "schema is not, change its <code>applies_to</code>, <code>values_by_category</code> or "
        "<code>exclusive</code>. label_issues.csv has every cell with its row and product."
        f"{_not_all(findings)}</p>"
    )
    head = ("Contradiction", "Attribute", "Cells", "Most frequent cells")
    return Markup(text + search("contradictions", "Search contradictions")) + table(
        head, rows, numbers="--n"
    )


def unknown_values(schema: Schema, findings: Findings) -> Markup:
    """Values that the schema does not know: synonyms to paste, and candidates for new values."""
    total = findings.issues.get(UNKNOWN_VALUE, 0)
    if not total:
        return Markup("<p>None: the schema knows every value of the table.</p>")
    found = unknown(findings.cells)
    parts = [
        f"<p>{total:,} cells hold a value that the schema does not know; their labels are missing. "
        "Per attribute: a <code>synonyms</code> entry for values that resemble a known one, which "
        "takes the place of the attribute's own (what it had is included), and below it the values "
        "that resemble none. <b>Read before you paste:</b> what is spelt alike may mean another "
        "thing; delete such lines. Then <code>build_tfrecords.py --relabel</code> writes the labels"
        f" without decoding a photo.{_not_all(findings)}</p>"
    ]
    for name in sorted(found, key=lambda n: (-sum(c for c, *_ in found[n]), schema.index[n])):
        attribute, cells = schema[name], found[name]
        known = [cell for cell in cells if cell[2]]
        others = [cell for cell in cells if not cell[2]]
        parts.append(
            f"<details><summary>{escape(attribute.title())} <span class=muted>"
            f"{sum(count for count, *_ in cells):,} cells: {len(known):,} values near a known one, "
            f"{len(others):,} near none</span></summary>"
        )
        if known:
            parts.append(
                f"<p>For the attribute <code>{name}</code>:</p>"
                f"<pre>{escape(synonyms_block(attribute, cells))}</pre>"
            )
        if others:
            parts.append("<p>Candidates for new values, or for <code>missing_values</code>:</p>")
            shown = [(spelling, count) for count, spelling, _ in others[:CANDIDATES]]
            parts.append(table(("Value", "Cells"), shown, "sortable narrow", numbers="-n"))
        if len(others) > CANDIDATES:
            parts.append(f"<p class=muted>And {len(others) - CANDIDATES:,} rarer ones.</p>")
        parts.append("</details>")
    return Markup("".join(parts))


def unknown(cells: Counter[Issue]) -> dict[str, list[tuple[int, str, str]]]:
    """Unknown values per attribute: cells, most frequent spelling, nearest known value or "".

    Spellings that differ in case, spaces or Unicode form alone are one value; most cells first.
    """
    spellings: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    near: dict[tuple[str, str], str] = {}
    for issue, count in cells.items():
        if issue.kind == UNKNOWN_VALUE:
            key = issue.attribute, fold(issue.cell)
            spellings[key][issue.cell] += count
            near[key] = issue.nearest
    found: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for (name, folded), counts in spellings.items():
        spelling = _by_count(counts)[0][0]
        found[name].append((sum(counts.values()), spelling, near[name, folded]))
    return {name: sorted(v, key=lambda c: (-c[0], c[1])) for name, v in found.items()}


def synonyms_block(attribute: Attribute, cells: Iterable[tuple[int, str, str]]) -> str:
    """YAML of one attribute's `synonyms`: those it has, then unknown values near a known one.

    In braces, so that it can be pasted at any indentation.

    Args:
      cells: as `unknown` gives them.
    """
    lines = [f"  {_quoted(s)}: {_quoted(value)}," for s, value in attribute.synonyms.items()]
    lines += [
        f"  {_quoted(spelling)}: {_quoted(value)},  # {count} cell{'s' * (count != 1)}"
        for count, spelling, value in cells
        if value
    ]
    return "\n".join(["synonyms: {", *lines, "}"])


def _quoted(text: str) -> str:
    """A YAML scalar in double quotes on one line: no text is read as another thing."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**31)).strip()


def _by_count(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _examples(cells: Counter[str]) -> Markup:
    shown = [f"<code>{escape(c)}</code> {n:,}" for c, n in _by_count(cells)[:EXAMPLES]]
    more = f" and {len(cells) - EXAMPLES:,} more" if len(cells) > EXAMPLES else ""
    return Markup(", ".join(shown) + f"<span class=muted>{more}</span>")


def _not_all(findings: Findings) -> str:
    if sum(findings.issues.values()) == sum(findings.cells.values()):
        return ""
    return f" Only the first {CELLS_LISTED:,} different cells are told apart here."
