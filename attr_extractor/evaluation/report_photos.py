"""Photos section of the report: predictions (the paper's figure 7) and heat maps (figure 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from attr_extractor.evaluation.samples import Row, Sample, jpeg
from attr_extractor.html_page import Markup, data_url, escape
from attr_extractor.schema import Schema

# uint8 [H, W, 3], an attribute and one of its values -> the photo with the heat over it, uint8
DrawHeat = Callable[[np.ndarray, str, str], np.ndarray]

SIDE, HEAT_SIDE = 224, 160  # maximum side of a picture, in pixels
HEATED, HEATS = 12, 2  # photos with heat maps, and heat maps per photo
OPEN = 12  # photos visible by default
ROWS = 9  # attributes of a photo visible by default
MARKS = {"right": "\N{CHECK MARK}", "wrong": "\N{BALLOT X}", "partly right": "\N{ALMOST EQUAL TO}"}
ORDER = ("wrong", "partly right", "no answer", "right", "unknown")

STYLE = """
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem;
  align-items: start }
.photos figure { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem }
.photos img { width: 100%; border-radius: .3rem; display: block; max-width: 14rem; margin: 0 auto }
.photos td { padding: .1rem .3rem; border: 0 } .photos td:first-child { min-width: 1rem }
.photos td:nth-child(2) { overflow-wrap: break-word; width: 40% }
.heats { display: grid; grid-template-columns: repeat(2, 1fr); gap: .4rem; margin: .4rem 0 }
.heats div { font-size: .75rem; line-height: 1.25; overflow-wrap: anywhere }
.photos details { border: 0; padding: 0 }
"""


def photos(schema: Schema, samples: list[Sample], heat: DrawHeat | None) -> Markup:
    """Render the photos, each with its answers, and some with heat maps if `heat` is given."""
    if not samples:
        return Markup()
    text = (
        f"<p>Figure 7 of the paper. The first {len(samples)} photos of the split, as the model "
        "sees them. In brackets: the seller's values, if they differ.</p>"
    )
    if heat is not None:
        text += (
            f"<p>Below the first {HEATED}, figure 6: the evidence for an answer, strongest in "
            "red.</p>"
        )
    drawn: Counter[str] = Counter()  # heat maps per attribute, so that every attribute is shown
    cards = []
    for i, sample in enumerate(samples):
        heats = _heats(schema, sample, heat, drawn) if heat is not None and i < HEATED else ""
        cards.append(_card(schema, sample, heats))
    text += f"<div class=photos>{''.join(cards[:OPEN])}</div>"
    if more := cards[OPEN:]:
        text += f"<details><summary>{len(more)} more photos</summary><div class=photos>"
        text += f"{''.join(more)}</div></details>"
    return Markup(text)


def _heats(schema: Schema, sample: Sample, heat: DrawHeat, drawn: Counter[str]) -> str:
    answered = sorted(
        (row for row in sample.rows if row.answered), key=lambda r: drawn[r.attribute]
    )
    parts = []
    for row in answered[:HEATS]:
        drawn[row.attribute] += 1
        picture = jpeg(heat(sample.pixels, row.attribute, row.answered[0]), HEAT_SIDE)
        text = f"{escape(schema[row.attribute].title())}: {escape(row.answered[0])}"
        parts.append(f"<div><img alt='' src='{data_url(picture)}'>{text}</div>")
    return f"<div class=heats>{''.join(parts)}</div>"


def _card(schema: Schema, sample: Sample, heats: str) -> str:
    told = sorted(
        (row for row in sample.rows if row.answered or row.labelled),
        key=lambda row: ORDER.index(row.verdict),
    )
    rows = [_row(schema, row) for row in told]
    table = f"<table>{''.join(rows[:ROWS])}</table>"
    if rest := rows[ROWS:]:
        table += f"<details><summary>{len(rest)} more</summary><table>{''.join(rest)}</table>"
        table += "</details>"
    picture = data_url(jpeg(sample.pixels, SIDE))
    return (
        f"<figure><img alt='' src='{picture}'>{heats}"
        f"<figcaption>{escape(sample.product_id)}{table}</figcaption></figure>"
    )


def _row(schema: Schema, row: Row) -> str:
    verdict = row.verdict
    answered = "<span class=muted>no answer</span>"
    if row.answered:
        answered = f"{escape(', '.join(row.answered))} <span class=muted>{row.score:.2f}</span>"
    if verdict in ("wrong", "partly right", "no answer"):
        labelled = ", ".join(row.labelled or []) or "does not apply"
        answered += f" [{escape(labelled)}]"
    css = verdict.split()[0] if verdict in MARKS else "muted"
    return (
        f"<tr class={css}><td>{MARKS.get(verdict, '')}"
        f"<td>{escape(schema[row.attribute].title())}<td>{answered}"
    )
