"""Validation report: unusable cells, which are contradictions and unknown values.

Unknown values close to a known one are shown as a `synonyms` entry to paste into the schema, the
others as candidates for new values.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import yaml

from attr_extractor.html_page import Markup, escape, search, table
from attr_extractor.labels import UNKNOWN_VALUE, Issue
from attr_extractor.records.rows import CELLS_LISTED, Findings
from attr_extractor.schema import Attribute, Schema, fold

EXAMPLES = 5  # cells shown per contradiction
CANDIDATES = 60  # values shown per attribute; a longer list is likely free text


def unusable(schema: Schema, findings: Findings) -> dict[str, int]:
    """Return the number of unusable cells per attribute, among those counted individually."""
    counts = dict.fromkeys(schema.names, 0)
    for issue, count in findings.cells.items():
        counts[issue.attribute] += count
    return counts


def contradictions(schema: Schema, findings: Findings) -> Markup:
    """Render contradictions by kind and attribute, with the most frequent cells."""
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
        f"<p>{total:,} filled cells contradict the schema or their row. The label of such a cell "
        "is missing; the other labels of the row are used. If the schema is wrong, change its "
        "<code>applies_to</code>, <code>values_by_category</code> or <code>exclusive</code>. "
        "label_issues.csv lists every cell with its row and product."
        f"{_not_all(findings)}</p>"
    )
    head = ("Contradiction", "Attribute", "Cells", "Most frequent cells")
    return Markup(text + search("contradictions", "Search contradictions")) + table(
        head, rows, numbers="--n"
    )


def unknown_values(schema: Schema, findings: Findings) -> Markup:
    """Render values that are not in the schema: synonyms to paste and candidates for new values."""
    total = findings.issues.get(UNKNOWN_VALUE, 0)
    if not total:
        return Markup("<p>None: every value of the table is in the schema.</p>")
    found = unknown(findings.cells)
    parts = [
        f"<p>{total:,} cells contain a value that is not in the schema; their labels are missing. "
        "Per attribute: a <code>synonyms</code> entry for values that resemble a known one, which "
        "replaces the attribute's current entry (existing synonyms are included), and then the "
        "values that resemble none. <b>Review before you paste:</b> similar spellings can have "
        "different meanings; delete such lines. Then <code>build_tfrecords.py --relabel</code> "
        f"updates the labels without decoding photos.{_not_all(findings)}</p>"
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
    """Return unknown values per attribute: cells, main spelling, nearest known value or "".

    Spellings that differ only in case, spaces or Unicode form are one value. Values are sorted by
    number of cells, descending.
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
    """Return an attribute's `synonyms` as YAML: existing ones, then those of unknown values.

    The mapping is in braces, so that it can be pasted at any indentation.

    Args:
      cells: unknown values, see `unknown`.
    """
    lines = [f"  {_quoted(s)}: {_quoted(value)}," for s, value in attribute.synonyms.items()]
    lines += [
        f"  {_quoted(spelling)}: {_quoted(value)},  # {count} cell{'s' * (count != 1)}"
        for count, spelling, value in cells
        if value
    ]
    return "\n".join(["synonyms: {", *lines, "}"])


def _quoted(text: str) -> str:
    """Return a YAML scalar in double quotes on one line, so that it is always read as text."""
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
    return f" Only the first {CELLS_LISTED:,} different cells are listed individually."
