"""report.html: one self-contained page, readable on a phone, no server and no script needed.

Carries the paper's figure 4 (score per attribute) and figure 7 (photos with what was predicted).
"""

from __future__ import annotations

import html
import io
from typing import Any

import numpy as np
from PIL import Image

from attr_extractor import html_page
from attr_extractor.evaluation.samples import Row, Sample
from attr_extractor.schema import Schema

STYLE = """
.scores { display: grid; grid-template-columns: minmax(7rem, 14rem) 1fr 8.5rem; gap: .35rem .7rem;
  align-items: center; font-variant-numeric: tabular-nums }
.scores .name { overflow-wrap: anywhere; text-align: right }
.scores .track { overflow: visible } .bar, .range, .mark { position: absolute }
.bar { inset: 0 auto 0 0; background: var(--bar); border-radius: .2rem }
.range { top: 45%; height: 10%; background: currentColor; opacity: .7 }
.mark { top: -.15rem; bottom: -.15rem; width: 3px; background: var(--half) }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem }
figure img { width: 100%; border-radius: .3rem } figcaption { overflow-wrap: anywhere }
figcaption td { padding: .1rem .3rem } figcaption td:first-child { min-width: 1rem }
.right { color: var(--good) } .wrong { color: var(--bad) } .partly { color: var(--half) }
"""
MARKS = {"right": "\N{CHECK MARK}", "wrong": "\N{BALLOT X}", "partly right": "\N{ALMOST EQUAL TO}"}


def render(name: str, schema: Schema, measured: dict[str, Any], samples: list[Sample]) -> str:
    """The whole page as HTML text.

    Args:
      measured: what `scores.measure` returned, with its `split`.
    """
    title = f"{name}: {measured['split']} split, {measured['photos']:,} photos"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p class=muted>Schema {html.escape(schema.name)}, {len(schema.attributes)} attributes, "
        f"{schema.num_values:,} values, fingerprint {schema.fingerprint}</p>",
        _headline(measured),
        "<h2>Score per attribute (figure 4 of the paper)</h2>",
        "<p>Equation 2 over photos to which the attribute applies and whose label is known; line: "
        "95 % bootstrap interval; mark: always answering the most frequent value.</p>",
        _score_chart(schema, measured["attributes"]),
        "<h2>Photos and what was predicted (figure 7 of the paper)</h2>",
        f"<p>The first {len(samples)} photos of the split, as the model sees them. In brackets, "
        "where it differs: what the seller wrote.</p>",
        f"<div class=photos>{''.join(_photo(schema, sample) for sample in samples)}</div>",
    ]
    return html_page.page(title, "".join(body), STYLE)


def _headline(measured: dict[str, Any]) -> str:
    mean = measured["mean"]
    if mean["score"] is None:
        return "<p>No attribute of this split has a known value.</p>"
    low, high = mean["interval"]
    cells = [
        (f"{mean['score']:.3f}", f"mean score, 95 % interval {low:.3f} to {high:.3f}"),
        (f"{mean['most_frequent']:.3f}", "always the most frequent value"),
        (
            f"{mean['attributes_beating_most_frequent']} of {mean['attributes_measured']}",
            "attributes surely better than that",
        ),
        (f"{mean['accuracy']:.3f}", "accuracy of the best value"),
        (f"{mean['coverage']:.3f}", "share answered"),
        (f"{mean['score_all']:.3f}", "the paper's mean over all photos, applicable or not"),
    ]
    if "without_near_duplicates" in measured:
        cells.append(_without(measured["without_near_duplicates"]))
    return html_page.headline(cells)


def _without(block: dict[str, Any]) -> tuple[str, str]:
    """The figure of a split without photos that resemble a training photo, and what it is."""
    mean, left_out = block["mean"], block["left_out"]
    if not left_out:
        return "0", "photos that resemble a training photo"
    text = f"mean score without the {left_out:,} photos that resemble a training photo"
    if mean["score"] is None:
        return "none", f"{text}: no known value is left"
    low, high = mean["interval"]
    return (
        f"{mean['score']:.3f}",
        f"{text}, 95 % interval {low:.3f} to {high:.3f}; most frequent value "
        f"{mean['most_frequent']:.3f}",
    )


def _score_chart(schema: Schema, attributes: dict[str, Any]) -> str:
    rows = []
    for name, a in sorted(attributes.items(), key=lambda item: -(item[1]["score"] or 0.0)):
        title = html.escape(schema[name].title())
        if a["score"] is None:
            rows.append(
                f"<div class=name>{title}</div><div class=muted>no known value</div><div></div>"
            )
            continue
        low, high = a["interval"]
        rows.append(
            f"<div class=name>{title}</div><div class=track>"
            f"<div class=bar style='width:{100 * a['score']:.1f}%'></div>"
            f"<div class=range style='left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%'></div>"
            f"<div class=mark style='left:{100 * a['most_frequent']:.1f}%'></div></div>"
            f"<div>{a['score']:.3f} <span class=muted>n={a['applicable']:,}</span></div>"
        )
    return f"<div class=scores>{''.join(rows)}</div>"


def _photo(schema: Schema, sample: Sample) -> str:
    rows = "".join(_row(schema, row) for row in sample.rows if row.answered or row.labelled)
    return (
        f"<figure><img alt='' src='{_data_url(sample.pixels)}'>"
        f"<figcaption>{html.escape(sample.product_id)}<table>{rows}</table></figcaption></figure>"
    )


def _row(schema: Schema, row: Row) -> str:
    verdict = row.verdict
    answered = html.escape(", ".join(row.answered)) or "<span class=muted>no answer</span>"
    if row.answered:
        answered += f" <span class=muted>{row.score:.2f}</span>"
    if verdict in ("wrong", "partly right", "no answer"):
        labelled = ", ".join(row.labelled or []) or "does not apply"
        answered += f" [{html.escape(labelled)}]"
    css = verdict.split()[0] if verdict in MARKS else "muted"
    return (
        f"<tr class={css}><td>{MARKS.get(verdict, '')}</td>"
        f"<td>{html.escape(schema[row.attribute].title())}</td><td>{answered}</td></tr>"
    )


def _data_url(pixels: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=85)
    return html_page.data_url(out.getvalue())
