"""Validation report: label coverage, imbalance at three levels, and values too rare to learn.

Coverage counts rows of the table. Imbalance and rarity count training photos, because the loss of
equation 1 is computed over training photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attr_extractor.html_page import Markup, bars, escape, search, table, track
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.report_cells import unusable
from attr_extractor.records.rows import Findings
from attr_extractor.schema import Schema

# With fewer training photos of a value, the test split (10 % of the products, the training split
# has 80 %) has at most two photos: a learned value cannot be distinguished from chance.
FEW_PHOTOS = 20
MOST_CATEGORIES = 60  # listed individually; the others are summed up

STYLE = """
.answered { background: var(--bar) !important } .unusable { background: var(--bad) !important }
.missing { background: var(--half) !important } .inapplicable { background: var(--line) !important }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem;
  vertical-align: -.05rem }
.legend span { white-space: nowrap; margin-right: .8rem }
.tall { max-height: 44rem } .heat { width: auto }
.heat td, .heat th { padding: .1rem .15rem; font-size: .68rem; text-align: center;
  min-width: 1.5rem; border: 1px solid var(--paper); overflow-wrap: normal }
.heat td:first-child, .heat th:first-child { position: sticky; left: 0; z-index: 1;
  background: var(--paper); text-align: right; font-size: .8rem;
  min-width: 8.5rem; max-width: 12rem; overflow-wrap: anywhere }
.heat th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; height: 8rem;
  white-space: nowrap; position: sticky; top: 0; background: var(--paper) }
.heat th:first-child { writing-mode: initial; transform: none; z-index: 2 }
"""


def coverage(schema: Schema, findings: Findings) -> Markup:
    """Render the shares of answered, missing and inapplicable rows, by attribute and category."""
    states, bad = findings.states.sum(axis=0), unusable(schema, findings)
    asked = (findings.states.sum(axis=2) * _applies(schema)).sum(axis=0)  # [T] rows
    rows = []
    for t, attribute in enumerate(schema.attributes):
        answered, inapplicable, missing = states[t].tolist()
        total, wrong = max(1, answered + inapplicable + missing), bad[attribute.name]
        parts = [
            ("answered", answered / total),
            ("unusable", wrong / total),
            ("missing", (missing - wrong) / total),
            ("inapplicable", inapplicable / total),
        ]
        shares = [percent(answered, int(asked[t])), percent(total - int(asked[t]), total)]
        rows.append((attribute.title(), track(parts), *shares, answered, missing - wrong, wrong))
    head = ("Attribute", "", "Answered", "Does not apply", "Answered rows", "Empty", "Unusable")
    keys = {
        "answered": "answered",
        "unusable": "filled, but unusable",
        "missing": "empty",
        "inapplicable": "does not apply (a known negative)",
    }
    legend = "".join(
        f"<span><i class='key {css}'></i> {text}</span> " for css, text in keys.items()
    )
    return Markup(
        f"<p>Computed over {int(states[0].sum()):,} rows of the table with a product and a photo. "
        "<b>Answered</b> is computed over applicable rows.</p>"
        f"<p class=legend>{legend}</p>{search('coverage', 'Search attributes')}"
        f"{table(head, rows, numbers='--nnnnn')}"
        f"<h3>By category</h3>{_by_category(schema, findings)}"
    )


def _by_category(schema: Schema, findings: Findings) -> Markup:
    names = [*schema[schema.category].values, "no known category"]
    others = [t for t, name in enumerate(schema.names) if name != schema.category]
    applies = _applies(schema)
    if not others:
        return Markup("<p>The category is the only attribute.</p>")
    of_category = findings.states[:, 0].sum(axis=1)  # [C + 1] rows
    order = [c for c in np.argsort(-of_category, kind="stable") if of_category[c]]
    shown = [(names[c], [c]) for c in order[:MOST_CATEGORIES]]
    if rest := order[MOST_CATEGORIES:]:
        shown.append((f"{len(rest)} smaller categories", rest))
    lines = []
    for name, which in shown:
        answered, count = findings.states[which, :, 0].sum(axis=0), of_category[which].sum()
        asked = (of_category[which, None] * applies[which]).sum(axis=0)  # [T] rows
        cells = []
        for t in others:
            if not asked[t]:
                cells.append("<td class=muted>\N{MIDDLE DOT}")
                continue
            share = answered[t] / asked[t]
            # the number must be readable on the darkest tint
            tint = f"color-mix(in srgb,var(--bar) {70 * share:.0f}%,var(--faint))"
            cells.append(f"<td style='background:{tint}'>{100 * share:.0f}")
        lines.append(f"<tr><td>{escape(name)} <span class=muted>{count:,}</span>{''.join(cells)}")
    head = "".join(f"<th>{escape(schema.attributes[t].title())}" for t in others)
    return Markup(
        "<p>Percentage of answered rows per category, over applicable rows; \N{MIDDLE DOT}: the "
        "attribute does not apply. The number after a category is its number of rows.</p>"
        f"<div class='scroll tall'><table class=heat><thead><tr><th>{head}</thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _applies(schema: Schema) -> np.ndarray:
    """Return whether an attribute applies to a category, bool [C + 1, T].

    All attributes apply to the last row, an unknown category.
    """
    starts = [where.start for where in schema.slices.values()]
    applies = np.logical_or.reduceat(schema.allowed, starts, axis=1)
    return np.vstack([applies, np.ones(len(starts), bool)])


def effective(counts: Sequence[int] | np.ndarray) -> float:
    """Return the effective number of classes, exp(entropy); 0 if all counts are 0."""
    counts = np.asarray(counts, np.float64)
    share = counts[counts > 0] / max(1.0, counts.sum())
    return float(np.exp(-(share * np.log(share)).sum())) if len(share) else 0.0


def imbalance(schema: Schema, manifest: Manifest) -> Markup:
    """Render the imbalance of categories, of attributes, and of the values of each attribute."""
    labels, present = manifest.splits["train"].labels, manifest.present("train")
    category = labels[schema.category].present
    ordered = sorted(category.items(), key=lambda item: (-item[1], item[0]))
    answered = {a.title(): labels[a.name].answered for a in schema.attributes}
    by_answers = sorted(answered.items(), key=lambda item: (-item[1], item[0]))
    rows = []
    for attribute in schema.attributes:
        counts = sorted(labels[attribute.name].present.items(), key=lambda i: (-i[1], i[0]))
        seen = [(value, count) for value, count in counts if count]
        cells: list = [attribute.title(), len(counts), len(seen)]
        if seen:
            (most, largest), (least, smallest) = seen[0], seen[-1]
            share = percent(largest, sum(count for _, count in counts))
            even = effective([count for _, count in counts])
            ratio = _ratio(largest, smallest)
            evenness = f"{np.log(even) / np.log(len(counts)):.2f}" if len(counts) > 1 else "-"
            cells += [most, share, f"{least} ({smallest:,})", ratio, f"{even:.1f}", evenness]
        rows.append([*cells, *["-"] * (9 - len(cells))])
    compared = ("Most frequent", "Its share", "Rarest seen", "Ratio", "Effective", "Evenness")
    head = ("Attribute", "Values", "Seen", *compared)
    more = len(ordered) - MOST_CATEGORIES
    return Markup(
        "<p>Counted in training photos. <b>Ratio</b>: largest to smallest count above 0. "
        "<b>Effective number</b>: number of equally frequent classes with the same entropy (exp of "
        "the entropy). <b>Evenness</b>: entropy over its maximum; 1 if all are equally "
        "frequent.</p>"
        f"<h3>1. Between categories</h3>{_summary(list(category.values()), 'categories')}"
        f"{bars(ordered[:MOST_CATEGORIES])}"
        + (f"<p class=muted>And {more:,} smaller categories.</p>" if more > 0 else "")
        + "<h3>2. Between attributes</h3><p>Answered photos by attribute. In equation 1, photos "
        "with a missing label do not contribute to the loss of that attribute.</p>"
        f"{_summary(list(answered.values()), 'attributes')}{bars(by_answers)}"
        f"<h3>3. Between the values of an attribute</h3>{_ranks(present)}"
        f"<div id=within>{search('within', 'Search attributes')}"
        f"{table(head, rows, numbers='-nn-n-nnn')}</div>"
    )


def _summary(counts: list[int], what: str) -> str:
    seen = [count for count in counts if count]
    if not seen:
        return f"<p>None of the {what} has a training photo.</p>"
    even = effective(counts)
    evenness = f", evenness {np.log(even) / np.log(len(counts)):.2f}" if len(counts) > 1 else ""
    return (
        f"<p>{len(seen):,} of {len(counts):,} {what} seen; ratio {max(seen):,} : {min(seen):,} = "
        f"{_ratio(max(seen), min(seen))}; effective number {even:.1f}{evenness}.</p>"
    )


def _ratio(largest: int, smallest: int) -> str:
    ratio = largest / smallest
    return f"{ratio:,.1f}" if ratio < 10 else f"{ratio:,.0f}"


def _ranks(present: np.ndarray) -> str:
    """Render all V values by rank as SVG, with training photos on a logarithmic axis."""
    seen = np.sort(present[present > 0])[::-1]
    if not len(seen):
        return ""
    top = max(1.0, float(np.ceil(np.log10(seen[0]))))
    y = 150 - 140 * np.log10(seen) / top
    x = 40 + 355 * np.arange(len(seen)) / max(1, len(present) - 1)
    # a path with every rank of a long list would be megabytes large and look the same
    some = np.unique(np.geomspace(1, len(seen), 400).astype(int)) - 1 if len(seen) > 400 else ...
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[some], y[some]))
    grid = "".join(
        f"<line x1=40 x2=395 y1={150 - 140 * k / top:.1f} y2={150 - 140 * k / top:.1f} />"
        f"<text x=36 y={154 - 140 * k / top:.1f} text-anchor=end>{10**k:,}</text>"
        for k in range(int(top) + 1)
    )
    few = 150 - 140 * np.log10(FEW_PHOTOS) / top
    mark = (
        f"<line x1=40 x2=395 y1={few:.1f} y2={few:.1f} stroke-dasharray=4 "
        "style='stroke:var(--bad)'/>"
        f"<text x=395 y={few - 3:.1f} text-anchor=end>{FEW_PHOTOS} photos</text>"
    )
    return (
        "<svg viewBox='0 0 400 172' role=img aria-label='training photos of all values by rank'>"
        f"{grid}{mark if few > 0 else ''}<polyline points='{points}' fill=none "
        "style='stroke:var(--bar)' stroke-width=2 />"
        f"<text x=40 y=168>most frequent of {len(present):,} values</text>"
        "<text x=395 y=168 text-anchor=end>rarest</text></svg>"
        f"<p class=muted>Training photos of each value, by rank, on a logarithmic axis; "
        f"{int((present == 0).sum()):,} values have no training photo.</p>"
    )


def standing(schema: Schema, manifest: Manifest) -> np.ndarray:
    """Return object [V]: "" for a value that can be learned, otherwise the reason."""
    train = manifest.present("train")
    held_out = manifest.present("validation") + manifest.present("test")
    return np.select(
        [train >= FEW_PHOTOS, train > 0, held_out > 0],
        ["", f"fewer than {FEW_PHOTOS}", "held out only"],
        "never seen",
    ).astype(object)


def cannot_learn(schema: Schema, manifest: Manifest) -> list[str]:
    """Return the attributes with fewer than two values that have enough training photos."""
    enough = standing(schema, manifest) == ""
    return [name for name in schema.names if enough[schema.slices[name]].sum() < 2]


def too_few(schema: Schema, manifest: Manifest) -> Markup:
    """Render attributes and values with too few labels to learn, and the threshold."""
    kinds, labels = standing(schema, manifest), manifest.splits["train"].labels
    hopeless, order = set(cannot_learn(schema, manifest)), ["never seen", "held out only"]
    rows = []
    for attribute in schema.attributes:
        own = kinds[schema.slices[attribute.name]]
        counts = [int((own == kind).sum()) for kind in (*order, f"fewer than {FEW_PHOTOS}", "")]
        if counts[-1] == len(own) and attribute.name not in hopeless:
            continue
        verdict = (
            Markup("<b class=wrong>cannot be learned</b>") if attribute.name in hopeless else ""
        )
        rows.append((attribute.title(), verdict, labels[attribute.name].answered, *counts))
    fine = len(schema.attributes) - len(rows)
    text = (
        f"<p>A value counts as too rare with fewer than {FEW_PHOTOS} training photos: with an "
        "80/10/10 split, the test split then has about two photos, so neither a score nor a "
        "threshold can be distinguished from chance. An attribute cannot be learned with fewer "
        "than two values above this limit. <b>Held out only</b>: the model can never predict the "
        "value, so every such photo lowers the score. Remedies: add photos, merge values as "
        f"synonyms, or delete values. {fine:,} of {len(schema.attributes):,} attributes have no "
        "rare value and are not listed. The next section lists the values: search for "
        "<i>never seen</i>, <i>held out only</i> or <i>fewer than</i>.</p>"
    )
    if not rows:
        return Markup(text)
    rows.sort(key=lambda row: (row[1] == "", row[-1]))
    kinds_of = ("Never seen", "Held out only", f"Fewer than {FEW_PHOTOS}", "Enough")
    head = ("Attribute", "", "Answered photos", *kinds_of)
    return Markup(text) + table(head, rows, numbers="--nnnnn")


def percent(part: int, whole: int) -> str:
    """Format a share in percent with one decimal; `-` if `whole` is 0."""
    return f"{100 * part / whole:.1f} %" if whole else "-"
