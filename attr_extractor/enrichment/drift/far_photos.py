"""Details of the embeddings for the page: the farthest photos, and a projection of both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attr_extractor.enrichment.drift import clouds
from attr_extractor.enrichment.drift.delivery import Photo
from attr_extractor.enrichment.drift.views import Files

FARTHEST = 12
DOTS = 400  # per side


@dataclass(frozen=True)
class Embeddings:
    """Distances, farthest photos and projection of two sets of embeddings."""

    usual: float  # 99th percentile of the reference's own distances
    beyond: float  # share of the delivery's photos above it
    farthest: list[tuple[Photo, bytes, float]]  # with the stored photo and the distance
    dots: tuple[np.ndarray, np.ndarray]  # float [n, 2] of reference and delivery

    def figures(self) -> dict[str, Any]:
        """Return the entry of drift.json."""
        return {
            "distance_of_99_percent": round(self.usual, 6),
            "delivery_beyond": round(self.beyond, 6),
            "farthest": [
                {"product_id": p.product, "image": p.image, "distance": round(far, 6)}
                for p, _, far in self.farthest
            ],
        }


def describe(reference: np.ndarray, delivery: np.ndarray, sent: Files) -> Embeddings:
    """Compute the details of two sets of embeddings.

    Args:
      reference: float [N, D], unit vectors, N > NEIGHBOURS.
      delivery: float [M, D], unit vectors of the photos in `sent`.
      sent: photos of the delivery.
    """
    own, far = clouds.distances(reference, delivery)
    usual = float(np.quantile(own, 0.99))
    order = np.argsort(-far, kind="stable")[:FARTHEST].tolist()
    dots = clouds.plane(reference, delivery)
    return Embeddings(
        usual=usual,
        beyond=float(np.mean(far > usual)),
        farthest=[(*sent.stored[i], float(far[i])) for i in order],
        dots=(dots[0][:DOTS], dots[1][:DOTS]),
    )
