"""Options of a comparison: what to compare, and the thresholds of drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Tuple

from attr_extractor.enrichment.drift.compare import AUC, PSI, SHARE
from attr_extractor.enrichment.drift.parts import PARTS
from attr_extractor.errors import InputError, did_you_mean

_BETWEEN = {"psi": (0, 10), "share": (0, 1), "auc": (0.5, 1), "alpha": (0.001, 1)}
MOST_SAMPLE = 5000  # limits the size of a matrix product of embeddings


@dataclass(frozen=True)
class DriftOptions:
    """The flags of drift.py except paths; `_MEANING` documents each."""

    parts: Tuple[str, ...] = ()
    split: str = "validation"
    sample: int = 2000
    seed: int = 0
    psi: float = 0.2
    share: float = 0.02
    auc: float = 0.7
    alpha: float = 0.05

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in PARTS:
                guess = did_you_mean(part, PARTS)
                raise InputError(f"--parts: {part!r} is not one of {', '.join(PARTS)}{guess}")
        if not 1 <= self.sample <= MOST_SAMPLE:
            raise InputError(f"--sample={self.sample}: must be between 1 and {MOST_SAMPLE:,}")
        for name, (low, high) in _BETWEEN.items():
            if not low < getattr(self, name) < high:
                given = f"--{name}={getattr(self, name):g}"
                raise InputError(f"{given}: must be above {low:g} and below {high:g}")

    @property
    def limits(self) -> dict[str, float]:
        """Drift threshold of the size beyond chance, by kind; half of it is worth a look."""
        return {PSI: self.psi, SHARE: self.share, AUC: self.auc - 0.5}

    def has(self, part: str) -> bool:
        """Return whether a part is to be compared."""
        return not self.parts or part in self.parts


_MEANING = {
    "parts": f"Comma-separated parts to compare: {', '.join(PARTS)}; default: all available.",
    "split": "Split of the records to compare photos with.",
    "sample": "Number of products per side, with one photo each.",
    "seed": "Seed of the sample and of the permutations.",
    "psi": "Drift threshold of the population stability index, beyond chance.",
    "share": "Drift threshold of the increase in the share of unknown values or unreadable photos.",
    "auc": "Drift threshold of the AUC that separates the embeddings; 0.5 is chance.",
    "alpha": "Probability of a false alarm, over all comparisons together.",
}
FLAGS: dict[str, tuple[Any, str]] = {  # default and meaning of each option
    o.name: ("" if o.name == "parts" else o.default, _MEANING[o.name]) for o in fields(DriftOptions)
}


def from_flags(values: Mapping[str, Any]) -> DriftOptions:
    """Return the options from flag values named as in FLAGS.

    Raises:
      InputError: if a value is invalid.
    """
    parts = tuple(part.strip() for part in values["parts"].split(",") if part.strip())
    return DriftOptions(**{**values, "parts": parts})
