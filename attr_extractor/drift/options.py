"""What a comparison is told: what to compare, and from where on it is drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Tuple

from attr_extractor.drift.compare import AUC, PSI, SHARE
from attr_extractor.drift.parts import PARTS
from attr_extractor.errors import InputError, did_you_mean

_BETWEEN = {"psi": (0, 10), "share": (0, 1), "auc": (0.5, 1), "alpha": (0.001, 1)}
MOST_SAMPLE = 5000  # the embeddings of so many go into one matrix product


@dataclass(frozen=True)
class Options:
    """The flags of drift.py besides paths; `_MEANING` says what each is."""

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
                raise InputError(f"--parts: {part!r} is none of {', '.join(PARTS)}{guess}")
        if not 1 <= self.sample <= MOST_SAMPLE:
            raise InputError(f"--sample={self.sample}: between 1 and {MOST_SAMPLE:,}")
        for name, (low, high) in _BETWEEN.items():
            if not low < getattr(self, name) < high:
                given = f"--{name}={getattr(self, name):g}"
                raise InputError(f"{given}: a number above {low:g} and below {high:g}")

    @property
    def limits(self) -> dict[str, float]:
        """By kind the size beyond chance that is drift; half of it is worth a look."""
        return {PSI: self.psi, SHARE: self.share, AUC: self.auc - 0.5}

    def has(self, part: str) -> bool:
        """Whether a part is asked for."""
        return not self.parts or part in self.parts


_MEANING = {
    "parts": f"What is compared, of {', '.join(PARTS)}; default: all that can be.",
    "split": "The records' photos that the delivery's are held against.",
    "sample": "Products of each side of which a photo is looked at.",
    "seed": "Of the sample, and of what chance is measured with.",
    "psi": "Drift from this population stability index on, beyond chance.",
    "share": "Drift where so much more of rows has unknown values, of photos is unreadable.",
    "auc": "Drift where embeddings can be told apart so well; 0.5 is a guess.",
    "alpha": "Chance of a false alarm, of all comparisons together.",
}
FLAGS: dict[str, tuple[Any, str]] = {  # default and meaning of each option
    o.name: ("" if o.name == "parts" else o.default, _MEANING[o.name]) for o in fields(Options)
}


def from_flags(values: Mapping[str, Any]) -> Options:
    """The options that flags named as in FLAGS say; raises InputError where one cannot be used."""
    parts = tuple(part.strip() for part in values["parts"].split(",") if part.strip())
    return Options(**{**values, "parts": parts})
