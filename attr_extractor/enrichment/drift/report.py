"""The result of a comparison: drift.json, drift.html and lines for a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from attr_extractor.enrichment.drift.aspects import ASPECTS, EMBEDDING
from attr_extractor.enrichment.drift.compare import AUC, DRIFTED, LOOK, PSI, SAME, SHARE, Comparison
from attr_extractor.enrichment.drift.embeddings import EmbeddingDistances
from attr_extractor.enrichment.drift.photos import APPEARANCE
from attr_extractor.records.report_photos import thumbnail
from attr_extractor.web import pages

MOST_LEVELS = 12  # values drawn per comparison, those with the largest change
SIDE, QUALITY = 200, 80  # of a photo: maximum side in pixels, JPEG quality
TITLES = {"labels": "Labels", "photos": "Photos", "scores": "Scores", "embedding": "Embeddings"}


@dataclass(frozen=True)
class DriftReport:
    """Comparisons of a delivery with records, and what was compared."""

    schema_name: str
    schema: str  # fingerprint
    records: str  # digest
    rows: int  # of the delivery
    products: int  # usable rows
    rejects: Dict[str, int]  # rejected rows by reason
    split: str  # that photos are compared with
    cap_per_category: Optional[int]
    group_column: Optional[str]
    train_products: int
    sample: int  # products
    sample_trained_on: int  # training products in the sample
    photos_inspected: int
    photos_unreadable: int
    seed: int
    alpha: float
    limits: Dict[str, float]  # drift thresholds beyond chance, by kind
    comparisons: Tuple[Comparison, ...]  # with verdicts
    distances: Optional[EmbeddingDistances]

    def with_verdict(self, verdict: str) -> list[Comparison]:
        """Return the comparisons with a verdict."""
        return [c for c in self.comparisons if c.verdict == verdict]

    @property
    def verdict(self) -> str:
        """The most severe verdict."""
        return next((v for v in (DRIFTED, LOOK) if self.with_verdict(v)), SAME)

    @property
    def drifted(self) -> bool:
        """Whether any comparison drifted."""
        return self.verdict == DRIFTED

    def as_json(self) -> dict[str, Any]:
        """Return the content of drift.json."""
        return {
            "schema": self.schema,
            "records": self.records,
            "rows": self.rows,
            "products": self.products,
            "rejects": self.rejects,
            "split": self.split,
            "cap_per_category": self.cap_per_category,
            "group_column": self.group_column,
            "train_products": self.train_products,
            "sample": self.sample,
            "sample_trained_on": self.sample_trained_on,
            "photos_looked_at": self.photos_inspected,
            "photos_not_readable": self.photos_unreadable,
            "seed": self.seed,
            "alpha": self.alpha,
            "limits": self.limits,
            "comparisons": [_comparison_as_json(c) for c in self.comparisons],
            "embedding": None if self.distances is None else _distances_as_json(self.distances),
        }

    def lines(self) -> list[str]:
        """Return a summary, then a line for each comparison that drifted or needs a look."""
        drifted, look = self.with_verdict(DRIFTED), self.with_verdict(LOOK)
        lines = [
            f"{self.products:,} products, {self.photos_inspected:,} photos inspected: "
            f"{len(self.comparisons)} comparisons, {len(drifted)} drifted, "
            f"{len(look)} worth a look"
        ]
        if self.sample_trained_on:
            lines.append(
                f"{self.sample_trained_on:,} of {self.sample:,} sampled products are training "
                "products: the model is more confident on these than on new products"
            )
        return lines + [f"{c.verdict}: {line_of(c)}" for c in (*drifted, *look)]


def line_of(c: Comparison) -> str:
    """Format a comparison in one line: its size, and the shares that changed most."""
    size = {
        PSI: f"PSI {c.size:.2f} ({c.chance:.2f} by chance)",
        SHARE: f"{100 * c.size:+.1f} points",
        AUC: f"AUC {c.size:.2f} ({c.chance:.2f} by chance)",
    }[c.kind]
    shown = c.most_changed(3) if c.kind == PSI else c.levels[:1]
    shares = "; ".join(f"{n} {100 * p:.1f} -> {100 * q:.1f} %" for n, p, q in shown)
    notes = "".join(f"; {note}" for note in c.notes)
    return f"{c.aspect}: {c.title}: {size}" + (f", {shares}" if shares else "") + notes


def render(report: DriftReport) -> str:
    """Return drift.html."""
    by_aspect = {a: [c for c in report.comparisons if c.aspect == a] for a in ASPECTS}
    shown = [a for a in ASPECTS if by_aspect[a] or (a == EMBEDDING and report.distances)]
    return pages.render(
        "drift/page.html",
        title=f"{report.schema_name}: a delivery of {report.products:,} products",
        folder="drift",
        sections=[
            ("findings", "What drifted"),
            *((aspect, TITLES[aspect]) for aspect in shown),
            ("explanation", "How to read this page"),
        ],
        report=report,
        by_aspect=by_aspect,
        findings=[*_by_size(report.with_verdict(DRIFTED)), *_by_size(report.with_verdict(LOOK))],
        appearance=APPEARANCE,
        most_levels=MOST_LEVELS,
        scatter=None if report.distances is None else _scatter(report.distances),
        thumbnail=lambda stored: thumbnail(stored, SIDE, QUALITY),
    )


def _by_size(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Sort comparisons by aspect and then by size, the largest first."""
    return sorted(comparisons, key=lambda c: (ASPECTS.index(c.aspect), -c.excess))


@dataclass(frozen=True)
class Scatter:
    """A scatter plot, 400 wide, of points of both sides."""

    height: float
    dots: List[Tuple[str, float, float]]  # "records" or "delivery", x, y


def _scatter(distances: EmbeddingDistances) -> Scatter:
    """Place points so that neither side covers the other: drawn alternately."""
    sides = {"records": distances.reference_points, "delivery": distances.delivery_points}
    points = np.concatenate(list(sides.values()))
    low, spread = points.min(axis=0), np.ptp(points, axis=0).max() or 1.0
    placed = [
        [(side, *(10 + 380 * (point - low) / spread).tolist()) for point in of_side]
        for side, of_side in sides.items()
    ]
    pairs = itertools.zip_longest(*placed)
    dots = [dot for pair in pairs for dot in pair if dot is not None]
    return Scatter(20 + 380 * float(np.ptp(points[:, 1])) / spread, dots)


def _comparison_as_json(c: Comparison) -> dict[str, Any]:
    content: dict[str, Any] = {
        "part": c.aspect,
        "subject": c.subject,
        "what": c.measure,
        "verdict": c.verdict,
        "kind": c.kind,
        "size": round(c.size, 6),
        "chance": round(c.chance, 6),
        "p": c.p,
        "p_adjusted": c.p_adjusted,
        "reference_products": c.products[0],
        "delivery_products": c.products[1],
        "notes": list(c.notes),
        "levels": [
            {"name": n, "reference": round(p, 6), "delivery": round(q, 6)} for n, p, q in c.levels
        ],
    }
    if c.levels:
        content["moved"] = round(c.moved, 6)
    if c.ks is not None:
        content["ks"] = round(c.ks, 6)
    content["line"] = line_of(c)
    return content


def _distances_as_json(distances: EmbeddingDistances) -> dict[str, Any]:
    return {
        "distance_of_99_percent": round(distances.usual, 6),
        "delivery_beyond": round(distances.beyond, 6),
        "farthest": [
            {
                "product_id": far.photo.product,
                "image": far.photo.image,
                "distance": round(far.distance, 6),
            }
            for far in distances.farthest
        ],
    }
