"""drift.html: the comparisons that drifted, before and after, and then all comparisons by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attr_extractor.enrichment.drift import page_text, parts, plots
from attr_extractor.enrichment.drift.compare import AUC, DRIFTED, LOOK, PSI, SAME, SHARE, Comparison
from attr_extractor.enrichment.drift.far_photos import Embeddings
from attr_extractor.html_page import (
    SCRIPT,
    Markup,
    escape,
    headline,
    outlined,
    page,
    searched,
    table,
)
from attr_extractor.records.report_photos import thumbnail

MOST_LEVELS = 12  # values drawn per attribute, those with the largest change
SIDE, QUALITY = 200, 80  # of a photo: maximum side in pixels, JPEG quality
WORDS = {DRIFTED: "drifted", LOOK: "look", SAME: "no drift"}
STYLE = (
    """
.badge { display: inline-block; font-size: .78rem; line-height: 1.5; padding: 0 .5rem;
  border-radius: .7rem; color: var(--paper); background: var(--good); white-space: nowrap }
.badge.drifted { background: var(--bad) } .badge.look { background: var(--half) }
.verdict { font-size: 1.05rem } .verdict b { color: var(--good) }
.verdict.drifted b { color: var(--bad) } .verdict.look b { color: var(--half) }
.cards { columns: 24rem; column-gap: .8rem; margin: .8rem 0 }
.cards > div { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem;
  margin: 0 0 .8rem; break-inside: avoid } .cards h3 { margin: .1rem 0 .2rem; display: flex;
  gap: .6rem; justify-content: space-between; align-items: baseline; overflow-wrap: anywhere }
.cards p { font-size: .84rem } details { margin-top: .8rem }
.far { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr));
  margin: .6rem 0 } .far img { display: block; width: 100%; height: 10rem; object-fit: contain;
  background: #fff; border: 1px solid var(--line); border-radius: .4rem }
"""
    + plots.STYLE
)


def render(
    name: str,
    found: dict[str, Any],
    compared: Sequence[Comparison],
    embeddings: Embeddings | None,
) -> str:
    """Return the page as HTML text.

    Args:
      name: name of the schema.
      found: the result of `drift.drift`.
      compared: its comparisons, with verdicts.
    """
    of_part = {part: [c for c in compared if c.part == part] for part in parts.PARTS}
    texts = {
        parts.LABELS: ("Labels", page_text.labels(found)),
        parts.PHOTOS: ("Photos", page_text.photos(found)),
        parts.SCORES: ("Scores", page_text.scores(found)),
        parts.EMBEDDING: ("Embeddings", Markup()),
    }
    sections = [("found", "What drifted", _findings(compared))]
    for part, (title, text) in texts.items():
        if part == parts.EMBEDDING and (of_part[part] or embeddings):
            sections.append((part, title, _embeddings(found, of_part[part], embeddings)))
        elif of_part[part]:
            sections.append((part, title, text + _compared(part, of_part[part])))
    sections.append(("read", "How to read this page", page_text.explained(found, len(compared))))
    links, shown = outlined(sections)
    title = f"{name}: a delivery of {found['products']:,} products"
    body = [
        f"<h1>{escape(title)}</h1><p class=muted>compared with records of "
        f"{found['train_products']:,} training products; schema {escape(name)}, fingerprint "
        f"{found['schema']}, records {found['records']}</p>{links}",
        _verdict(compared),
        _headline(found, compared),
        shown,
    ]
    return page(title, "".join(body), STYLE, SCRIPT)


def _verdict(compared: Sequence[Comparison]) -> Markup:
    count = _count(compared)
    worst = DRIFTED if count[DRIFTED] else LOOK if count[LOOK] else SAME
    says = {
        DRIFTED: "This delivery has drifted.",
        LOOK: "No drift found; some comparisons are worth a look.",
        SAME: "No drift found.",
    }[worst]
    return Markup(f"<p class='verdict {worst}'><b>{says}</b></p>")


def _headline(found: dict[str, Any], compared: Sequence[Comparison]) -> Markup:
    count = _count(compared)
    shown = [
        (count[DRIFTED], f"of {len(compared):,} comparisons drifted"),
        (count[LOOK], "worth a look"),
        (found["products"], f"products of {found['rows']:,} rows"),
    ]
    if found["photos_looked_at"]:
        shown.append((found["photos_looked_at"], "photos inspected, one per product"))
    if found["photos_not_readable"]:
        shown.append((found["photos_not_readable"], "unreadable photos"))
    shown += [
        (f"{c.size:.2f}", "AUC between delivery and records; 0.5 is chance")
        for c in compared
        if c.kind == AUC
    ]
    return headline(shown)


def _findings(compared: Sequence[Comparison]) -> Markup:
    order = [c for verdict in (DRIFTED, LOOK) for c in _largest(compared, verdict)]
    if not order:
        return Markup("<p>No comparison is beyond its threshold.</p>")
    return Markup(f"{plots.KEY}{_cards(order, True)}")


def _cards(compared: Sequence[Comparison], with_part: bool) -> Markup:
    cards = (
        f"<div><h3><span>{escape(f'{c.part.capitalize()}: ' * with_part + c.title)}</span>"
        f"{_badge(c)}</h3>{_told(c)}{_plot(c)}</div>"
        for c in compared
    )
    return Markup(f"<div class=cards>{''.join(cards)}</div>")


def _compared(part: str, compared: Sequence[Comparison]) -> Markup:
    rows = [
        (
            c.title,
            _badge(c),
            _size(c),
            _size(c, c.chance) if c.kind == PSI else "-",
            f"{100 * c.moved:.1f} %",
            "-" if c.distance is None else f"{c.distance:.3f}",
            _p(c.p_adjusted),
            c.products[1],
        )
        for c in compared
    ]
    head = ("Comparison", "", "PSI or points", "By chance", "Moved", "KS", "p", "Products")
    listed = table(head, rows, numbers="--nnnnnn")
    drawn = (
        f"<details><summary>All {len(compared)} charts</summary>{plots.KEY}"
        f"{_cards(compared, False)}</details>"
    )
    return searched(f"{part}-rows", "Search", listed) + Markup(drawn)


def _embeddings(
    found: dict[str, Any], compared: Sequence[Comparison], embeddings: Embeddings | None
) -> Markup:
    text = Markup("<p>Too few photos to compare the embeddings.</p>" if not compared else "")
    for c in compared:
        text = text + Markup(
            f"<p>{_badge(c)} A linear classifier, trained on other photos of both sides, "
            f"distinguishes delivered photos from those of the {escape(found['split'])} split with "
            f"an area under the ROC curve of <b>{c.size:.3f}</b>; with shuffled sides, of "
            f"{c.chance:.3f}. 0.5 is chance, 1 is perfect. p {_p(c.p_adjusted)}</p>"
        )
    if embeddings is None:
        return text
    far = (
        f"<figure title='{escape(photo.image)}'><img alt='' "
        f"src='{thumbnail(stored, SIDE, QUALITY)}'><figcaption>{escape(photo.product)}<br>"
        f"<span class=muted>distance {distance:.3f}</span></figcaption></figure>"
        for photo, stored, distance in embeddings.farthest
    )
    return text + Markup(
        f"<p>{100 * embeddings.beyond:.1f} % of the delivered photos are farther from the split "
        "than 99 % of the split's own photos; without drift the expected share is about "
        f"1 %.</p>{plots.KEY}{plots.dots(embeddings.dots, 'Embeddings of both sides')}"
        "<p class=muted>One dot per photo, projected on the first two principal components of the "
        "embeddings.</p><h3>Farthest from the split</h3><p>Distance: 1 - cosine, mean over the 5 "
        f"nearest photos of the split; below {embeddings.usual:.3f} for 99 % of the split's own "
        f"photos.</p><div class=far>{''.join(far)}</div>"
    )


def _told(c: Comparison) -> Markup:
    chance = f" ({_size(c, c.chance)} by chance)" if c.kind != SHARE else ""
    line = f"{c.kind if c.kind != SHARE else 'More:'} {_size(c)}{chance}"
    if c.kind == PSI:
        line += f", {100 * c.moved:.1f} % moved"
    notes = "".join(f"<p>{escape(note)}</p>" for note in c.notes)
    return Markup(
        f"<p class=muted>{escape(line)}, p\N{NO-BREAK SPACE}{_p(c.p_adjusted)}</p>{notes}"
    )


def _plot(c: Comparison) -> Markup:
    if c.distance is not None:
        return plots.columns(c.levels, c.title)
    shown = c.levels
    if len(shown) > MOST_LEVELS:
        shown = sorted(shown, key=lambda level: -abs(level[2] - level[1]))[:MOST_LEVELS]
    left_out = len(c.levels) - len(shown)
    more = f"<p class=muted>{left_out:,} values with smaller changes are not drawn.</p>"
    return plots.rows(shown) + Markup(more if left_out else "")


def _largest(compared: Sequence[Comparison], verdict: str) -> list[Comparison]:
    """Return the comparisons with a verdict, sorted by part and then by size."""
    found = [c for c in compared if c.verdict == verdict]
    return sorted(found, key=lambda c: (parts.PARTS.index(c.part), -c.excess))


def _count(compared: Sequence[Comparison]) -> dict[str, int]:
    return {verdict: sum(c.verdict == verdict for c in compared) for verdict in WORDS}


def _badge(c: Comparison) -> Markup:
    return Markup(f"<span class='badge {c.verdict}'>{WORDS[c.verdict]}</span>")


def _size(c: Comparison, size: float | None = None) -> str:
    size = c.size if size is None else size
    return f"{100 * size:+.1f}" if c.kind == SHARE else f"{size:.3f}"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
