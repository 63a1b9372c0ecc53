"""Texts of drift.html that explain its parts and figures."""

from __future__ import annotations

from typing import Any

from attr_extractor.enrichment.drift import looks
from attr_extractor.enrichment.drift.compare import AUC, PSI, SHARE
from attr_extractor.html_page import Markup, escape


def labels(found: dict[str, Any]) -> Markup:
    """Render the introduction of the labels."""
    cap = found["cap_per_category"]
    capped = (
        f" The build kept at most {cap:,} training products per category, so the shares of "
        "categories differ from those of its table."
    )
    rejects = "".join(f"; {n:,} rows: {escape(why)}" for why, n in found["rejects"].items())
    return Markup(
        "<p>Sellers' labels, counted in photos: the training split according to its manifest, and "
        "the whole delivery. <i>Filled</i> compares the shares of photos whose attribute is "
        "filled, not applicable and missing; contradictions count as missing. <i>Values</i> "
        "compares the shares of values among filled attributes."
        + (capped if cap else "")
        + f"</p><p class=muted>{found['products']:,} of {found['rows']:,} rows used{rejects}.</p>"
    )


def photos(found: dict[str, Any]) -> Markup:
    """Render the introduction of files and pixels."""
    meanings = "; ".join(f"{name.lower()}: {text}" for name, text in looks.FIGURES.items())
    return Markup(
        "<p>Formats and sizes of the original files, compared with one photo of every training "
        f"product. Appearance, compared with the {escape(found['split'])} split, both as stored "
        f"photos: {escape(meanings)}.</p><p class=muted>The records do not contain a file's "
        "colour mode; a grey photo has colour 0.</p>"
    )


def scores(found: dict[str, Any]) -> Markup:
    """Render the introduction of the model's scores."""
    known = found["sample_trained_on"]
    warned = (
        f" <b>{known:,} of the {found['sample']:,} sampled products are training products</b>: "
        "the model is more confident on training photos than on new ones."
    )
    return Markup(
        f"<p>Model outputs for photos of the delivery and of the {escape(found['split'])} split: "
        "the highest score of each attribute, over the deciles of the split, and the predicted "
        "values." + (warned if known else "") + "</p>"
    )


def explained(found: dict[str, Any], comparisons: int) -> Markup:
    """Render the explanation of figures and thresholds."""
    limits = found["limits"]
    return Markup(
        "<p><b>PSI</b>, the population stability index, is the sum of (q - p) ln(q / p) over the "
        "shares p of the records and q of the delivery. With few products it is above 0 even "
        "without drift: <b>by chance</b> is its mean when the products of both sides are "
        "permuted. <b>Moved</b> is the share of the delivery that would need another value to "
        "match the records (total variation distance). <b>KS</b> is the largest difference of the "
        "two cumulative distributions.</p>"
        f"<p><span class='badge drifted'>drifted</span> PSI at least {limits[PSI]:g} above "
        f"chance, {100 * limits[SHARE]:g} points more unknown values or unreadable photos, "
        f"or an AUC at least {limits[AUC]:g} above chance; "
        "<span class='badge look'>look</span> at least half as much. Both require p of at most "
        f"{found['alpha']:g}: over all {comparisons:,} comparisons of a delivery that has not "
        f"drifted, a false alarm occurs at most {100 * found['alpha']:g} times in 100 (Holm). "
        "p is based on products, not photos, and assumes that they are independent."
        f"{_grouped(found)}</p>"
        "<p class=muted>Drift is not an error: a winter collection differs from a summer "
        "collection. It means that scores measured on the records may not apply to the "
        "delivery.</p>"
    )


def _grouped(found: dict[str, Any]) -> Markup:
    column = found["group_column"]
    return Markup(
        f" The records' splits keep groups of <code>{escape(column)}</code> together: a few "
        "groups differ from each other, and a delivery differs from each of them."
        if column
        else ""
    )
