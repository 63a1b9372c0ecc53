"""Requirements for pipelines: `mean_average_accuracy>=0.7,attribute.neck_type>=0.6`.

A name is `mean.FIGURE`, `attribute.NAME.FIGURE` or `without_near_duplicates.FIGURE`, where FIGURE
is a figure of metrics.json; the suffixes `.low` and `.high` are the ends of its interval.
`attribute.NAME` is that attribute's score, `attribute.*` stands for every measured attribute, and
`mean_average_accuracy` is the mean over attributes of equation 2, `mean.score`.

If two runs are compared, `difference` is this run's score minus the other's. `regression` is the
significant loss: how far the difference's interval lies below 0. Without a prefix, `regression`
means that of every attribute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from attr_extractor.errors import InputError, did_you_mean

Figures = Mapping[str, Optional[float]]  # by name; None if not measured

_FORM = re.compile(r"([^<>=\s]+)\s*(>=|<=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)")
_SHORT = {"mean_average_accuracy": "mean.score", "regression": "attribute.*.regression"}


@dataclass(frozen=True)
class Requirement:
    """A bound on a figure, or on the same figure of every attribute."""

    given: str  # the name as written
    name: str  # the full name
    at_least: bool  # False: at most
    bound: float

    def failures(self, figures: Figures) -> list[str]:
        """Return a line for each figure that does not meet the requirement."""
        measured = {n: v for n, v in figures.items() if v is not None}
        named = {n: v for n, v in measured.items() if self.name in (n, _every(n))}
        required = f"at {'least' if self.at_least else 'most'} {self.bound:g} is required"
        if not named:
            return [f"{self.given} could not be measured on this split, {required}"]
        return [
            f"{self.given if n == self.name else n} is {v:g}, {required}"
            for n, v in named.items()
            if not self._met(v)
        ]

    def _met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def parse(text: str, figures: Figures) -> list[Requirement]:
    """Parse requirements separated by commas.

    Args:
      figures: contains every known name; the values are ignored.

    Raises:
      InputError: if a requirement is malformed or its name is unknown; gives the nearest name.
    """
    known = {*figures, *map(_every, figures)}
    short = {*_SHORT, *(n[: -len(".score")] for n in known if n.endswith(".score"))} - {"mean"}
    requirements = []
    for part in filter(None, map(str.strip, text.split(","))):
        form = _FORM.fullmatch(part)
        if not form:
            raise InputError(f"--require: {part!r}: write it as NAME>=NUMBER or NAME<=NUMBER")
        given, sign, bound = form.groups()
        name = _SHORT.get(given) or (f"{given}.score" if given in short else given)
        if name not in known:
            if _of_two_runs(given) and "mean.regression" not in known:
                raise InputError(f"--require: {part!r}: requires another run, set --compare")
            guess = did_you_mean(given, known | short)
            raise InputError(f"--require: unknown figure {given!r}{guess}")
        requirements.append(Requirement(given, name, sign == ">=", float(bound)))
    return requirements


def figures(measured: Mapping[str, Any]) -> dict[str, float | None]:
    """Return all figures of a measured split by their names in requirements."""
    blocks = {"mean": measured["mean"], **_named(measured["attributes"])}
    if "without_near_duplicates" in measured:
        blocks["without_near_duplicates"] = measured["without_near_duplicates"]["mean"]
    by_name = _flat(blocks)
    if "comparison" in measured:
        compared = measured["comparison"]
        blocks = {"mean": compared["mean"], **_named(compared["attributes"])}
        for prefix, block in blocks.items():
            by_name.update(_flat({prefix: {k: v for k, v in block.items() if _of_two_runs(k)}}))
            high = by_name[f"{prefix}.difference.high"]
            by_name[f"{prefix}.regression"] = None if high is None else 0 - high
    return by_name


def _flat(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    by_name: dict[str, float | None] = {}
    for prefix, block in blocks.items():
        for key, value in block.items():
            if key.endswith("interval"):
                figure = "score" if key == "interval" else key[: -len("_interval")]
                ends = value or (None, None)
                by_name.update(zip((f"{prefix}.{figure}.low", f"{prefix}.{figure}.high"), ends))
            elif not isinstance(value, str):
                by_name[f"{prefix}.{key}"] = value
    return by_name


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"attribute.{name}": block for name, block in attributes.items()}


def _every(name: str) -> str:
    """Return the name of the same figure of every attribute."""
    return re.sub(r"^attribute\.\w+", "attribute.*", name)


def _of_two_runs(name: str) -> bool:
    return "difference" in name or "regression" in name
