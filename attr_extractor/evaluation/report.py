"""report.html: one self-contained page, readable on a phone, no server and no script needed.

Carries the paper's figure 4 (score per attribute) and figure 7 (photos with what was predicted).
"""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import numpy as np
from PIL import Image

from attr_extractor.evaluation.samples import Row, Sample
from attr_extractor.schema import Schema

STYLE = """
:root { color-scheme: light dark; --good: #2a7d4f; --bad: #c0392b; --half: #b9770e; --bar: #3b6ea8;
  --line: #8884; --faint: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.headline { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0 }
.headline div { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem }
.headline b { display: block; font-size: 1.5rem }
.chart { display: grid; grid-template-columns: minmax(7rem, 14rem) 1fr 8.5rem; gap: .35rem .7rem;
  align-items: center; font-variant-numeric: tabular-nums }
.chart .name { overflow-wrap: anywhere; text-align: right }
.track { position: relative; height: 1.1rem; background: var(--faint); border-radius: .2rem }
.bar { position: absolute; inset: 0 auto 0 0; background: var(--bar); border-radius: .2rem }
.range { position: absolute; top: 45%; height: 10%; background: currentColor; opacity: .7 }
.mark { position: absolute; top: -.15rem; bottom: -.15rem; width: 3px; background: var(--half) }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem }
figure img { width: 100%; border-radius: .3rem; image-rendering: auto }
figcaption { font-size: .8rem; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; font-size: .82rem }
td { border-top: 1px solid var(--line); padding: .1rem .3rem; vertical-align: top }
.right { color: var(--good) } .wrong { color: var(--bad) } .partly { color: var(--half) }
.muted { opacity: .65 }
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
        _headline(measured["mean"]),
        "<h2>Score per attribute (figure 4 of the paper)</h2>",
        "<p>Equation 2 over photos to which the attribute applies and whose label is known; line: "
        "95 % bootstrap interval; mark: always answering the most frequent value.</p>",
        _score_chart(schema, measured["attributes"]),
        "<h2>Photos and what was predicted (figure 7 of the paper)</h2>",
        f"<p>The first {len(samples)} photos of the split, as the model sees them. In brackets, "
        "where it differs: what the seller wrote.</p>",
        f"<div class=photos>{''.join(_photo(schema, sample) for sample in samples)}</div>",
    ]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _headline(mean: dict[str, Any]) -> str:
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
    boxes = "".join(f"<div><b>{value}</b>{html.escape(text)}</div>" for value, text in cells)
    return f"<div class=headline>{boxes}</div>"


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
    return f"<div class=chart>{''.join(rows)}</div>"


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
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
