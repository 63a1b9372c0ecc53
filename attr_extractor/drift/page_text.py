"""What drift.html says of its parts and of how to read them."""

from __future__ import annotations

from typing import Any

from attr_extractor.drift import looks
from attr_extractor.drift.compare import AUC, PSI, SHARE
from attr_extractor.html_page import Markup, escape


def labels(found: dict[str, Any]) -> Markup:
    """Of the labels."""
    cap = found["cap_per_category"]
    capped = (
        f" The build left out training products beyond {cap:,} of a category, so shares of "
        "categories are not those of its table."
    )
    rejects = "".join(f"; {n:,} rows: {escape(why)}" for why, n in found["rejects"].items())
    return Markup(
        "<p>What sellers wrote, counted in photos: the training split as its manifest has it, the "
        "delivery whole. <i>Filled</i> compares the shares of photos whose attribute is filled, "
        "not applicable and missing, contradictions among the missing; <i>values</i> the shares "
        "among the filled."
        + (capped if cap else "")
        + f"</p><p class=muted>{found['products']:,} of {found['rows']:,} rows used{rejects}.</p>"
    )


def photos(found: dict[str, Any]) -> Markup:
    """Of files and pixels."""
    meanings = "; ".join(f"{name.lower()}: {text}" for name, text in looks.FIGURES.items())
    return Markup(
        "<p>Formats and sizes of the files as they were sent, against one photo of every training "
        f"product. What they show, against the {escape(found['split'])} split, both as records "
        f"store them: {escape(meanings)}.</p><p class=muted>The records do not keep a file's "
        "colour mode; a grey photo shows in its colour.</p>"
    )


def scores(found: dict[str, Any]) -> Markup:
    """Of the model's answers."""
    known = found["sample_trained_on"]
    warned = (
        f" <b>{known:,} of the {found['sample']:,} sampled products are training products</b>: "
        "what the model says of photos it knows is surer than what it says of new ones."
    )
    return Markup(
        f"<p>What the model says of the delivery's photos and of the {escape(found['split'])} "
        "split's: the highest score of each attribute, over the deciles of the split, and the "
        "values it answers." + (warned if known else "") + "</p>"
    )


def explained(found: dict[str, Any], comparisons: int) -> Markup:
    """What the figures mean, and from where on they are drift."""
    limits = found["limits"]
    return Markup(
        "<p><b>PSI</b>, the population stability index, is the sum of (q - p) ln(q / p) over the "
        "shares p before and q now. Few products move it without any drift: <b>by chance</b> is "
        "its mean where the products of both sides are shared out anew. <b>Moved</b> is the share "
        "of the delivery that would have to be another value to be as before. <b>KS</b> is the "
        "largest difference of two cumulative distributions.</p>"
        f"<p><span class='badge drifted'>drifted</span> PSI at least {limits[PSI]:g} above "
        f"chance, {100 * limits[SHARE]:g} points more unknown values or unreadable photos, "
        f"or an AUC at least {limits[AUC]:g} above chance; "
        "<span class='badge look'>look</span> at least half as much. Both only where p is at most "
        f"{found['alpha']:g}: over all {comparisons:,} comparisons of a delivery that has not "
        f"drifted, a false alarm comes at most {100 * found['alpha']:g} times in 100 (Holm). "
        f"p goes by products, not photos, and takes them for independent.{_grouped(found)}</p>"
        "<p class=muted>A drift is no error: a winter's delivery is another one than a summer's. "
        "It says that scores measured on the records may not hold here.</p>"
    )


def _grouped(found: dict[str, Any]) -> Markup:
    column = found["group_column"]
    return Markup(
        f" The records' splits keep whole groups of <code>{escape(column)}</code> together: where "
        "groups are few, they differ from each other, and so does a delivery from any of them."
        if column
        else ""
    )
