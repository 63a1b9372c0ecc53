"""report.html of a build: a validation report on the data, to read before training.

The report is one self-contained page. Sellers' text is escaped, never interpreted as HTML. The page
contains no date, so two builds of the same table give the same bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor.html_page import SCRIPT, Markup, escape, headline, outlined, page, table
from attr_extractor.labels import UNKNOWN_VALUE
from attr_extractor.records import report_cells, report_files, report_labels, report_photos
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.near_duplicates import NearDuplicate
from attr_extractor.records.report_labels import FEW_PHOTOS, percent
from attr_extractor.records.rows import Findings, Reject
from attr_extractor.schema import Schema

FILE = "report.html"
EXAMPLES = 5  # per reject reason

STYLE = """
.wrong { color: var(--bad) } .narrow { width: auto; min-width: 18rem }
.todo { padding-left: 1.2rem } .todo li { margin: .2rem 0 }
"""


def render(
    schema: Schema,
    manifest: Manifest,
    findings: Findings,
    listed: Mapping[str, pa.Table],
    rejects: Sequence[Reject],
    similar: Sequence[NearDuplicate],
    records: str,
) -> str:
    """Return the page as HTML text.

    Args:
      findings: of the last table.
      listed: the index of each split, in the order of its records.
      rejects: rejected rows and photos.
      similar: held-out photos that resemble a training photo.
      records: the folder that contains the shards.
    """
    identical = report_files.identical(listed)
    samples = report_photos.choose(schema, manifest, listed, records)
    standing = report_labels.standing(schema, manifest)
    sections = [
        ("splits", "Splits", _splits(manifest, listed)),
        ("rejects", "Left out", _rejects(rejects)),
        ("coverage", "Coverage", report_labels.coverage(schema, findings)),
        ("imbalance", "Imbalance", report_labels.imbalance(schema, manifest)),
        ("few", "Too few labels", report_labels.too_few(schema, manifest)),
        ("values", "Values", report_photos.values(schema, manifest, standing, samples)),
        ("contradictions", "Contradictions", report_cells.contradictions(schema, findings)),
        ("unknown", "Unknown values", report_cells.unknown_values(schema, findings)),
        ("duplicates", "Duplicates", report_files.duplicates(identical, similar)),
        ("sizes", "Sizes and formats", report_files.sizes(listed, manifest)),
        ("cost", "Disk and hours", report_files.cost(listed, manifest)),
    ]
    links, shown = outlined(sections)
    title = f"{schema.name}: {manifest.photos['written']:,} photos, validation report"
    policy = manifest.image_policy
    body = [
        f"<h1>{escape(title)}</h1><p class=muted>Schema fingerprint {schema.fingerprint}. Photos "
        f"are stored with a short side of at most {policy['short_side']} pixels, JPEG quality "
        f"{policy['jpeg_quality']}. Rows, coverage and cells refer to the last table; photos and "
        "splits refer to all photos in these records.</p>",
        f"{links}{_headline(schema, manifest)}",
        f"<h3>What to look at first</h3>{_first(schema, manifest, findings, identical, standing)}",
        shown,
    ]
    styles = STYLE + report_labels.STYLE + report_photos.STYLE + report_files.STYLE
    return page(title, "".join(body), styles + samples.style(), SCRIPT + report_files.SCRIPT)


def _headline(schema: Schema, manifest: Manifest) -> Markup:
    rows, photos = manifest.rows, manifest.photos
    cells: list[tuple[Any, str]] = [
        (rows["read"], "rows read"),
        (rows["written"], "rows written"),
        (rows["already there"], "rows already there"),
        (rows["rejected"], "rows rejected"),
        (photos["written"], "photos in these records"),
        (photos["rejected"], "photos that could not be used"),
        (len(schema.attributes), "attributes"),
        (schema.num_values, "values"),
    ]
    return headline(cell for cell in cells if cell[0] or cell[1] != "rows already there")


def _first(
    schema: Schema,
    manifest: Manifest,
    findings: Findings,
    identical: report_files.Identical,
    standing: np.ndarray,
) -> Markup:
    """List the problems, one line each, with links to their sections."""
    cells = sum(findings.issues.values())
    unknown = findings.issues.get(UNKNOWN_VALUE, 0)
    filled = int(findings.states[..., 0].sum()) + cells
    kinds, hopeless = Counter(standing.tolist()), report_labels.cannot_learn(schema, manifest)
    rejected, near = manifest.rows["rejected"], manifest.near_duplicates
    held = {split: manifest.splits[split].photos for split in near}
    names = ", ".join(schema[name].title() for name in hopeless[:10])
    names += f" and {len(hopeless) - 10} more" if len(hopeless) > 10 else ""
    lines = [
        (rejected, "rejects", f"{percent(rejected, manifest.rows['read'])} of the rows rejected"),
        (len(hopeless), "few", f"{len(hopeless):,} attributes cannot be learned: {names}"),
        (
            kinds["never seen"] + kinds["held out only"],
            "few",
            f"{kinds['never seen'] + kinds['held out only']:,} of {schema.num_values:,} values "
            f"have no training photo; {kinds['held out only']:,} of these have held-out photos",
        ),
        (
            kinds[f"fewer than {FEW_PHOTOS}"],
            "few",
            f"{kinds[f'fewer than {FEW_PHOTOS}']:,} more values have fewer than {FEW_PHOTOS}",
        ),
        (
            cells - unknown,
            "contradictions",
            f"{cells - unknown:,} filled cells ({percent(cells - unknown, filled)}) contradict "
            "the schema or their row",
        ),
        (
            unknown,
            "unknown",
            f"{unknown:,} filled cells ({percent(unknown, filled)}) contain a value that is not in "
            "the schema; see the suggested synonyms",
        ),
        (
            identical.differing,
            "duplicates",
            f"{identical.differing:,} photos belong to products with different labels",
        ),
    ]
    lines += [
        (count, "duplicates", f"{count:,} of {held[s]:,} {s} photos resemble a training photo")
        for s, count in near.items()
    ]
    items = [f"<li><a href='#{where}'>{escape(text)}</a>" for count, where, text in lines if count]
    return Markup(f"<ul class=todo>{''.join(items)}</ul>" if items else "<p>No problems found.</p>")


def _splits(manifest: Manifest, listed: Mapping[str, pa.Table]) -> Markup:
    grouped = manifest.build.get("group_column")
    rows = []
    for name, split in manifest.splits.items():
        row = [name, split.products, split.photos]
        row += [percent(split.photos, manifest.photos["written"])]
        row += [pc.count_distinct(listed[name]["group"]).as_py()] if grouped else []
        size = sum(shard.bytes for shard in split.shards)
        rows.append([*row, len(split.shards), report_files.size(size)])
    head = ["Split", "Products", "Photos", "Share", *(["Groups"] if grouped else [])]
    text = f"<p>Rows of one <code>{escape(grouped)}</code> share a split.</p>" if grouped else ""
    return Markup(text) + table([*head, "Shards", "Disk"], rows, "", "-nnnnnn")


def _rejects(rejects: Sequence[Reject]) -> Markup:
    if not rejects:
        return Markup("<p>None: every row and every photo was used.</p>")
    by_reason: dict[str, list[Reject]] = defaultdict(list)
    for reject in rejects:
        by_reason[reject[3]].append(reject)
    rows = []
    for reason, found in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        shown = [
            f"row {n:,} <code>{escape(p)}</code> {escape(i)}" for n, p, i, _ in found[:EXAMPLES]
        ]
        rows.append((reason, len(found), Markup("<br>".join(shown))))
    text = "<p>Rows and photos by reason; rejects.csv lists all of them.</p>"
    return Markup(text) + table(("Reason", "Left out", "Examples"), rows, numbers="-n")
