"""Layout of a report: one self-contained HTML page, readable on a phone, in light and dark mode.

Reports of records and of evaluations share it. Every text that is not `Markup` is escaped when it
is inserted, so sellers' text stays text. Pages contain no date and nothing random: the same content
gives the same bytes. The script sorts and searches tables and copies blocks; without it, all
content is still shown.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #f6f7f9; --text: #1c2430; --soft: #5d6878;
  --line: #d9dee6; --faint: #e9ecf1; --bar: #3b6ea8; --good: #2a7d4f; --bad: #c0392b;
  --half: #b9770e; --link: #1d5fa8 }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --card: #1a2029; --text: #e4e8ee;
  --soft: #98a3b3; --line: #2e3744; --faint: #252d38; --bar: #5b93d3; --good: #5cb98a;
  --bad: #e2705f; --half: #dba044; --link: #82b4ec } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem;
  background: var(--paper); color: var(--text) }
a { color: var(--link); text-decoration: none } a:hover { text-decoration: underline }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 .2rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem; padding-top: .6rem;
  border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem }
p { margin: .4rem 0; max-width: 52rem } .muted { color: var(--soft) }
nav { position: sticky; top: 0; z-index: 3; display: flex; gap: 1.1rem; overflow-x: auto;
  margin: .8rem -1rem 0; padding: .5rem 1rem; background: var(--paper); white-space: nowrap;
  border-bottom: 1px solid var(--line); font-size: .87rem }
section { scroll-margin-top: 2.6rem }
.headline { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr));
  gap: .6rem; margin: 1rem 0 }
.headline div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem .8rem; font-size: .85rem; line-height: 1.35; color: var(--soft) }
.headline b { display: block; font-size: 1.4rem; color: var(--text); line-height: 1.3 }
.chart { columns: 19rem; column-gap: 2rem; font-variant-numeric: tabular-nums; font-size: .87rem;
  margin: .5rem 0 }
.chart > div { display: grid; grid-template-columns: 9.5rem 1fr 3.6rem; gap: .7rem;
  align-items: center; break-inside: avoid; padding: .1rem 0 }
.chart .name { overflow-wrap: anywhere; text-align: right; line-height: 1.2 }
.track { position: relative; display: flex; height: 1rem; min-width: 5rem; overflow: hidden;
  background: var(--faint); border-radius: .2rem }
.track i { background: var(--bar) }
.scroll { overflow-x: auto; margin: .5rem 0 }
table { border-collapse: collapse; width: 100%; font-size: .84rem; line-height: 1.4;
  font-variant-numeric: tabular-nums }
th { text-align: left; vertical-align: bottom; font-weight: 600; color: var(--soft) }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line) }
td { vertical-align: top; overflow-wrap: anywhere; min-width: 3rem }
td:first-child { min-width: 7.5rem } .num { text-align: right; white-space: nowrap }
td.num { min-width: 3rem !important }
.sortable th { cursor: pointer; user-select: none }
[aria-sort=descending]::after { content: " \\2193" } [aria-sort=ascending]::after {
  content: " \\2191" }
details { border-bottom: 1px solid var(--line); padding: .35rem 0 }
summary { cursor: pointer; line-height: 1.5 }
input { font: inherit; padding: .3rem .6rem; border: 1px solid var(--line); border-radius: .4rem;
  background: var(--card); color: inherit; max-width: 100% }
input[type=search] { width: 22rem }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .4rem; overflow: auto;
  padding: .6rem .8rem; font-size: .82rem; max-height: 22rem; margin: .4rem 0 }
button { font: inherit; font-size: .82rem; cursor: pointer; padding: .1rem .7rem; color: inherit;
  border: 1px solid var(--line); border-radius: .4rem; background: var(--card) }
code { background: var(--card); border-radius: .2rem; padding: 0 .25rem; overflow-wrap: anywhere }
svg { display: block; width: 100%; max-width: 34rem; height: auto; margin: .4rem 0;
  font: 10px system-ui, sans-serif } svg text { fill: var(--soft) } svg rect { fill: var(--bar) }
svg line { stroke: var(--line) } svg circle { fill: var(--bar) }
svg polyline { fill: none; stroke: var(--bar); stroke-width: 1.7 }
svg .before { stroke: var(--half) } svg .dashed { stroke-dasharray: 4 3 }
svg .aim { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 3 }
svg.lines { max-width: 27rem; font-size: 7px } .multiples svg.lines { font-size: 14px; margin: 0 }
.multiples { display: grid; gap: .8rem; margin: .6rem 0;
  grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)) }
figure { margin: 0 } figcaption { font-size: .84rem; line-height: 1.35; overflow-wrap: anywhere }
"""

SCRIPT = """
const all = (query, root = document) => [...root.querySelectorAll(query)];
const number = text => {
  const found = parseFloat(text.replace(/[, ]/g, ''));
  return isNaN(found) ? -Infinity : found;
};
all('table.sortable').forEach(table => all('th', table).forEach((head, column) => head.onclick =
  () => {
  const down = head.ariaSort !== 'descending', numeric = head.className === 'num';
  all('th', table).forEach(other => other.removeAttribute('aria-sort'));
  head.ariaSort = down ? 'descending' : 'ascending';
  const rows = [...table.tBodies[0].rows].map(row => [row, row.cells[column].textContent]);
  rows.sort(([, a], [, b]) => numeric ? number(a) - number(b) : b.localeCompare(a));
  if (down) rows.reverse();
  table.tBodies[0].append(...rows.map(([row]) => row));
}));
all('input[data-search]').forEach(input => {
  const root = document.getElementById(input.dataset.search);
  const blocks = all('details', root).length ? all('details', root) : [root];
  const opened = blocks.filter(block => block.open);
  input.oninput = () => {
    const words = input.value.toLowerCase().split(' ').filter(word => word);
    blocks.forEach(block => {
      const title = block.querySelector('summary')?.firstChild.textContent ?? '';
      let found = 0;
      all('tbody tr', block).forEach(row => {
        const text = (title + ' ' + row.textContent).toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
        found += !row.hidden;
      });
      if (block === root) return;
      block.hidden = !found;
      block.open = words.length ? found : opened.includes(block);
    });
  };
});
all('pre').forEach(block => {
  const button = document.createElement('button');
  button.textContent = 'Copy';
  button.onclick = () => {
    getSelection().selectAllChildren(block);
    navigator.clipboard?.writeText(block.textContent).then(() => button.textContent = 'Copied');
  };
  block.before(button);
});
"""


class Markup(str):
    """Escaped HTML; anything added to it is escaped unless it is Markup too."""

    def __add__(self, other: str) -> Markup:
        return Markup(super().__add__(escape(other)))


def escape(content: Any) -> Markup:
    """Return content as HTML: Markup as is, integers with thousands separators, text escaped."""
    if isinstance(content, Markup):
        return content
    return Markup(f"{content:,}" if isinstance(content, int) else html.escape(str(content)))


def page(title: str, body: str, style: str = "", script: str = "") -> str:
    """Return a complete HTML page.

    Args:
      title: plain text.
      body: HTML.
      style: CSS in addition to that of every page.
      script: JavaScript; SCRIPT if the page has tables to sort or search.
    """
    code = f"<script>{script}</script>" if script else ""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{style}</style></head>"
        f"<body>{body}{code}</body></html>\n"
    )


def outlined(sections: Iterable[tuple[str, str, Any]]) -> tuple[Markup, Markup]:
    """Return links to the sections of a page, and the sections, from (id, title, HTML) of each."""
    held = list(sections)
    links = "".join(f"<a href='#{key}'>{title}</a>" for key, title, _ in held)
    parts = (f"<section id={key}><h2>{title}</h2>{part}</section>" for key, title, part in held)
    return Markup(f"<nav>{links}</nav>"), Markup("".join(parts))


def headline(cells: Iterable[tuple[Any, Any]]) -> Markup:
    """Return the key figures, each a large value above its meaning."""
    boxes = (f"<div><b>{escape(value)}</b>{escape(meaning)}</div>" for value, meaning in cells)
    return Markup(f"<div class=headline>{''.join(boxes)}</div>")


def track(parts: Sequence[tuple[str, float]]) -> Markup:
    """Return a bar; each part is a CSS class ("" for the plain colour) and a share of the width."""
    filled = (
        f"<i{f' class={css}' if css else ''} style='width:{100 * share:.2f}%'></i>"
        for css, share in parts
        if share > 0
    )
    return Markup(f"<div class=track>{''.join(filled)}</div>")


def bars(counts: Iterable[tuple[Any, int]]) -> Markup:
    """Return a horizontal bar chart of names and counts; the longest bar fills the width."""
    rows = list(counts)
    most = max((count for _, count in rows), default=0) or 1
    cells = (
        f"<div><div class=name>{escape(name)}</div>{track([('', count / most)])}{count:,}</div>"
        for name, count in rows
    )
    return Markup(f"<div class=chart>{''.join(cells)}</div>")


def table(
    head: Sequence[str], rows: Iterable[Sequence[Any]], css: str = "sortable", numbers: str = ""
) -> Markup:
    """Return a table that scrolls sideways on a narrow screen.

    Args:
      css: classes; with `sortable`, a click on the head of a column sorts by it.
      numbers: a letter per column, `n` for numbers: right-aligned, sorted by value.
    """
    kinds = [" class=num" if kind == "n" else "" for kind in numbers.ljust(len(head))]
    heads = "".join(f"<th{kind}>{escape(name)}" for name, kind in zip(head, kinds))
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}" for cell, kind in zip(row, kinds))
        for row in rows
    )
    return Markup(
        f"<div class=scroll><table class='{css}'><thead><tr>{heads}</thead>"
        f"<tbody>{lines}</tbody></table></div>"
    )


def search(root: str, what: str) -> Markup:
    """Return a search box; it hides table rows in the element `root` that lack its words."""
    hint = html.escape(what)
    return Markup(
        f"<input type=search data-search={root} placeholder='{hint}' aria-label='{hint}'>"
    )


def searched(root: str, what: str, content: Markup) -> Markup:
    """Return content below a box that searches its tables; `root` is an unused id of the page."""
    return Markup(f"{search(root, what)}<div id={root}>{content}</div>")


def histogram(counts: Sequence[int], edges: Sequence[str], title: str) -> Markup:
    """Return a histogram with vertical bars as SVG.

    Args:
      counts: the count of each bin.
      edges: the labels at the left edge of each bin, then at the right edge of the last bin.
    """
    width, height, most = min(60.0, 380 / max(1, len(counts))), 96, max([1, *counts])
    parts = [f"<svg viewBox='0 0 400 136' role=img aria-label='{html.escape(title)}'>"]
    for i, count in enumerate(counts):
        x, tall = 10 + i * width, height * count / most
        parts.append(
            f"<rect x='{x + 1:.1f}' y='{16 + height - tall:.1f}' width='{width - 2:.1f}' "
            f"height='{tall:.1f}'/><text x='{x + width / 2:.1f}' y='{12 + height - tall:.1f}' "
            f"text-anchor=middle>{count:,}</text>"
        )
    for i, edge in enumerate(edges):
        x = 10 + i * width
        parts.append(f"<text x='{x:.1f}' y=128 text-anchor=middle>{html.escape(edge)}</text>")
    return Markup("".join(parts) + f"<line x1=0 x2=400 y1={height + 16} y2={height + 16} /></svg>")


def line_chart(
    lines: Iterable[tuple[str, Sequence[tuple[float, float]]]],
    title: str,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    dots: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Return a line chart as SVG; each axis spans its first to its last tick.

    Args:
      lines: the CSS class ("" for the plain colour) and the points (x, y) of each line.
      x_ticks: (value, text) pairs in ascending order.
      y_ticks: (value, text) pairs in ascending order.
      dots: points drawn as dots.
    """
    left, right, top, bottom = 38, 252, 8, 152

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0][0]) / (x_ticks[-1][0] - x_ticks[0][0])
        up = (y - y_ticks[0][0]) / (y_ticks[-1][0] - y_ticks[0][0])
        return left + across * (right - left), bottom - up * (bottom - top)

    parts = [f"<svg class=lines viewBox='0 0 260 170' role=img aria-label='{html.escape(title)}'>"]
    anchors = ["start", *["middle"] * (len(x_ticks) - 2), "end"]
    for (x, text), anchor in zip(x_ticks, anchors):
        at = place(x, y_ticks[0][0])[0]
        parts.append(
            f"<line x1='{at:.1f}' x2='{at:.1f}' y1={top} y2={bottom} />"
            f"<text x='{at:.1f}' y={bottom + 15} text-anchor={anchor}>{html.escape(text)}</text>"
        )
    for y, text in y_ticks:
        at = place(x_ticks[0][0], y)[1]
        parts.append(
            f"<line x1={left} x2={right} y1='{at:.1f}' y2='{at:.1f}' />"
            f"<text x={left - 4} y='{at + 3.5:.1f}' text-anchor=end>{html.escape(text)}</text>"
        )
    for css, points in lines:
        kind = f" class='{css}'" if css else ""
        path = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
        parts.append(f"<polyline{kind} points='{path}' />")
    for point in dots:
        parts.append("<circle cx='{:.1f}' cy='{:.1f}' r=2.2 />".format(*place(*point)))
    return Markup("".join(parts) + "</svg>")


def data_url(jpeg: bytes) -> str:
    """Return a JPEG file as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
