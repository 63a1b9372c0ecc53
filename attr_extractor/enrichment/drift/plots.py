"""Small HTML and SVG charts that compare a delivery, in colour, with its reference."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from attr_extractor.html_page import Markup, escape

Levels = Sequence["tuple[str, float, float]"]

STYLE = """
.pairs { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr) max-content;
  gap: .3rem .7rem; align-items: center; font-size: .84rem; line-height: 1.2; margin: .4rem 0;
  font-variant-numeric: tabular-nums; max-width: 44rem }
.pairs .name { text-align: right; overflow-wrap: anywhere }
.pairs i { display: block; height: .42rem; border-radius: .1rem; background: var(--soft);
  opacity: .55 }
.pairs i.now { background: var(--bar); opacity: 1; margin-top: 1px }
svg .before-bar { fill: var(--soft); opacity: .55 } svg .before-dot { fill: var(--soft);
  opacity: .4 } svg .now-dot { fill: var(--bar); opacity: .65 }
svg.pair { max-width: 36rem; font-size: 12px }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem;
  vertical-align: -.05rem; margin: 0 .25rem 0 .6rem; background: var(--bar) }
.swatch.before { background: var(--soft); opacity: .55; margin-left: 0 }
"""

KEY = Markup("<p class=muted><i class='swatch before'></i>records <i class=swatch></i>delivery</p>")


def rows(levels: Levels) -> Markup:
    """Render one row per value, with the reference share above the delivery share."""
    most = max((max(p, q) for _, p, q in levels), default=0.0) or 1.0
    lines = (
        f"<div class=name>{escape(name)}</div><div><i style='width:{100 * p / most:.1f}%'></i>"
        f"<i class=now style='width:{100 * q / most:.1f}%'></i></div>"
        f"<div>{100 * p:.1f} &rarr; {100 * q:.1f} %</div>"
        for name, p, q in levels
    )
    return Markup(f"<div class=pairs>{''.join(lines)}</div>")


def columns(levels: Levels, title: str) -> Markup:
    """Render vertical pairs of bars, in the order of the levels, which are number ranges."""
    most = max(max(p, q) for _, p, q in levels) or 1.0
    width, height = 400 / len(levels), 90
    parts = [f"<svg class=pair viewBox='0 0 400 124' role=img aria-label='{html.escape(title)}'>"]
    for i, (name, p, q) in enumerate(levels):
        half = min(16.0, 0.42 * width)
        middle = (i + 0.5) * width
        for share, x, css in ((p, middle - half, " class=before-bar"), (q, middle, "")):
            tall = height * share / most
            hint = f"<title>{escape(name)}: {100 * p:.1f} &rarr; {100 * q:.1f} %</title>"
            parts.append(
                f"<rect{css} x='{x:.1f}' y='{8 + height - tall:.1f}' width='{half - 1:.1f}' "
                f"height='{tall:.1f}'>{hint}</rect>"
            )
    ends = [(levels[0][0], 2, "start"), (levels[-1][0], 398, "end")]
    if len(levels) == 1:
        ends = [(levels[0][0], 200, "middle")]
    for text, x, anchor in ends:
        parts.append(f"<text x={x} y=114 text-anchor={anchor}>{escape(text)}</text>")
    parts.append(f"<line x1=0 x2=400 y1={height + 8} y2={height + 8} />")
    return Markup("".join(parts) + "</svg>")


def dots(clouds: tuple[np.ndarray, np.ndarray], title: str) -> Markup:
    """Render points of both sides, float [n, 2] each.

    Points of the sides are drawn alternately, so that neither side covers the other.
    """
    points = np.concatenate(clouds)
    low, spread = points.min(axis=0), np.ptp(points, axis=0).max() or 1.0
    tall = 10 + 380 * float(np.ptp(points[:, 1])) / spread
    parts = [f"<svg viewBox='0 0 400 {tall + 10:.0f}' role=img aria-label='{html.escape(title)}'>"]
    for i in range(max(map(len, clouds))):
        for css, cloud in zip(("before-dot", "now-dot"), clouds):
            if i < len(cloud):
                x, y = 10 + 380 * (cloud[i] - low) / spread
                parts.append(f"<circle class={css} cx={x:.1f} cy={y:.1f} r=2.6 />")
    return Markup("".join(parts) + "</svg>")
