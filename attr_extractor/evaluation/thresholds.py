"""Choice of thresholds for a goal, from counts at each of 1,001 thresholds: 0, 0.001, ..., 1.

One pass counts, for each threshold, the answers and the right answers, so the choice is exact on
this grid and memory does not grow with the split. The choice is conservative:

- among equally good thresholds, the highest is chosen;
- a precision floor is reached if answers as good as the observed ones would occur in at most 1 of
  20 splits if the precision were equal to the floor (Clopper and Pearson's bound, as in Geifman and
  El-Yaniv, "Selective Classification for Deep Neural Networks", 2017): for 0.95, 59 right answers
  and no wrong one. Among such thresholds, the one with the most answers is chosen;
- below MIN_PRESENT labels, or below the number that a floor requires even of a model without
  errors, nothing is chosen: a value uses its attribute's threshold, an attribute the schema's, and
  with a floor the attribute gives no answers (threshold 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.evaluation.scores import equation_2
from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.schema import Schema

GRID = np.round(np.linspace(0.0, 1.0, 1001), 3).astype(np.float32)
MIN_PRESENT = 10  # labels
CHANCE = 0.05  # probability that answers reach a precision floor by chance
NO_ANSWERS = 1.0  # no score is above it
GOALS = ("f1", "equation_2", "precision")


@dataclass(frozen=True)
class Goal:
    """A goal of thresholds: `f1`, `equation_2`, or `precision` with its floor."""

    name: str
    floor: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Parse a goal such as `f1` or `precision:0.95`.

        Raises:
          InputError: if the goal is invalid.
        """
        name, _, number = text.partition(":")
        if text in GOALS[:2]:
            return cls(text)
        if name != "precision":
            known = did_you_mean(name, GOALS)
            raise InputError(
                f"--goal: {text!r} is not one of f1, equation_2, precision:0.95{known}"
            )
        try:
            floor = float(number)
        except ValueError:
            floor = math.nan
        if not 0 < floor < 1:
            raise InputError(f"--goal: {text!r}: the precision must be above 0 and below 1")
        return cls(name, floor)

    def __str__(self) -> str:
        return f"{self.name}:{self.floor:g}" if self.floor else self.name

    @property
    def min_present(self) -> int:
        """Minimum number of present labels for a choice."""
        by_luck = math.log(CHANCE) / math.log(self.floor) if self.floor else 0
        return max(MIN_PRESENT, math.ceil(by_luck))


def parse_goals(texts: Sequence[str], schema: Schema, per_value: bool) -> dict[str, Goal]:
    """Return the goal of every attribute: from one text for all, and `name=goal` for single ones.

    Raises:
      InputError: if a goal or an attribute is unknown, an attribute has two goals, or `per_value`
        is true for equation 2.
    """
    goals: dict[str, Goal] = {}
    for text in texts:
        name, separator, goal = text.rpartition("=")
        if separator and name not in schema.index:
            raise InputError(f"--goal: no attribute {name!r}{did_you_mean(name, schema.names)}")
        if name in goals:
            raise InputError(f"--goal: two goals for {name or 'all attributes'}; keep one")
        goals[name] = Goal.parse(goal)
        if per_value and goals[name].name == "equation_2":
            raise InputError(
                "--goal: equation_2 is defined over all values of an attribute; "
                "use --per=attribute, or another goal"
            )
    return {name: goals.get(name) or goals.get("") or Goal("f1") for name in schema.names}


class Counts:
    """Answers at each threshold of GRID, per attribute and, if requested, per value.

    For an exclusive attribute only the best value can be answered. A single value is counted if
    its score is above the threshold, even if a better value is then answered instead.
    """

    def __init__(self, schema: Schema, per_value: bool):
        self.schema = schema
        size = (len(schema.attributes), len(GRID))
        self.answered, self.right, self.agreement = (np.zeros(size) for _ in range(3))
        self.present = np.zeros(schema.num_values, np.int64)
        # per value, by the number of thresholds that its score is above: int32 [V, K + 1]
        size = (schema.num_values if per_value else 0, len(GRID) + 1)
        self._seen, self._seen_present = (np.zeros(size, np.int32) for _ in range(2))

    def add(self, scores: np.ndarray, labels: np.ndarray, best: np.ndarray) -> None:
        """Add photos.

        Args:
          scores: float32 [B, V], calibrated.
          labels: int8 [B, V].
          best: bool [B, V], the best value of every attribute.
        """
        above = np.searchsorted(GRID, scores)  # [B, V], thresholds that a score is above
        known, present = labels != MISSING, labels == PRESENT
        self.present += present.sum(axis=0)
        for t, attribute in enumerate(self.schema.attributes):
            where = self.schema.slices[attribute.name]
            known_t, present_t, above_t = known[:, where], present[:, where], above[:, where]
            candidates = known_t & best[:, where] if attribute.exclusive else known_t
            answered = _per_threshold(above_t, candidates)  # [B, K]
            right = _per_threshold(above_t, candidates & present_t)
            agreement = equation_2(right, answered, present_t.sum(axis=1, keepdims=True))
            self.answered[t] += answered.sum(axis=0)
            self.right[t] += right.sum(axis=0)
            self.agreement[t] += agreement[known_t.any(axis=1)].sum(axis=0)
        if len(self._seen):
            for total, marked in ((self._seen, known), (self._seen_present, present)):
                place = np.nonzero(marked)[1] * total.shape[1] + above[marked]
                # flat, and with the same dtype: an order of magnitude faster
                np.add.at(total.reshape(-1), place, np.int32(1))

    def of_attribute(self, name: str, goal: Goal) -> float | None:
        """Return the threshold of an attribute; None if it has too few labels to choose one."""
        t, where = self.schema.index[name], self.schema.slices[name]
        present = int(self.present[where].sum())
        return choose(goal, present, self.answered[t], self.right[t], self.agreement[t])

    def of_values(self, name: str, goal: Goal) -> dict[str, float]:
        """Return the thresholds of an attribute's values, except those with too few labels."""
        chosen = {}
        for v, value in enumerate(self.schema[name].values, self.schema.slices[name].start):
            answered, right = (_exceeding(row[v]) for row in (self._seen, self._seen_present))
            threshold = choose(goal, int(self.present[v]), answered, right)
            if threshold is not None:
                chosen[value] = threshold
        return chosen


def choose(
    goal: Goal,
    present: int,
    answered: np.ndarray,
    right: np.ndarray,
    agreement: np.ndarray | None = None,
) -> float | None:
    """Return the threshold of GRID that is best for a goal; None if there are too few labels.

    Args:
      present: number of present labels.
      answered: float [K], answers with a known label at each threshold.
      right: float [K], number of those whose label is present.
      agreement: float [K], equation 2 summed over the samples with a known label.
    """
    if present < goal.min_present:
        return None
    if goal.name == "f1":
        benefit = 2 * right / (answered + present)
    elif goal.name == "precision":
        reached = stats.binom.sf(right - 1, answered, goal.floor) <= CHANCE
        benefit = np.where(reached, answered, 0)  # if none is reached, the highest tie is 1
    else:
        assert agreement is not None
        benefit = agreement
    highest = np.flatnonzero(benefit == benefit.max())[-1]
    return round(float(GRID[highest]), 3)


def _per_threshold(above: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Return int64 [B, K]: marked values of each sample whose score is above each threshold."""
    shape = (len(above), len(GRID) + 1)
    place = np.nonzero(marked)[0] * shape[1] + above[marked]
    return _exceeding(np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape))


def _exceeding(counts: np.ndarray) -> np.ndarray:
    """Convert counts by number of thresholds exceeded, [..., K + 1], to counts above each one."""
    return counts[..., :0:-1].cumsum(axis=-1)[..., ::-1]
