"""Which cells are probably wrong and which empty ones could be filled, from out-of-fold logits.

Confident learning (Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", 2021): a class's threshold is the mean probability that it gets among the products
labelled with it, so a class that heads are seldom sure of is held to its own standard. A cell
is judged by how its value's probability compares with that value's threshold. Their further
condition, that the other class reaches its own threshold, decides about empty cells only.

An exclusive attribute is one choice between classes, its values. Of any other attribute each value
is a choice of its own between present and absent. Missing labels count nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attr_extractor.labels import ABSENT, MISSING, PRESENT
from attr_extractor.schema import Attribute, Schema

SEEN = 5  # products that a value must have, for its threshold to mean something
TINY = 1e-12  # a threshold that heads give nothing at all
LOW = 0.5  # share of its threshold below which a value is doubted
LIKELY = 0.5  # least probability of a value that fills an empty cell


@dataclass(frozen=True)
class Findings:
    """Cells of one attribute in a block of products."""

    attribute: Attribute
    empty: bool  # cells that could be filled; else probably wrong ones
    rows: np.ndarray  # int64 [n], positions in the block
    scores: np.ndarray  # float32 [n]
    proposed: np.ndarray  # bool [n, V_t]


class Thresholds:
    """Mean probabilities of each value among the products that have it, and that lack it."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self._sums = np.zeros([2, schema.num_values])
        self.counts = np.zeros([2, schema.num_values], np.int64)  # products: absent, present

    def add(self, chances: np.ndarray, codes: np.ndarray) -> None:
        """Counts a block: `probabilities` float32 [R, V] and labels int8 [R, V]."""
        for where in self.schema.slices.values():
            rows = (codes[:, where] == PRESENT).any(axis=1)  # cells that do not apply say nothing
            own, known = chances[rows, where], codes[rows, where]
            for state, chance in ((ABSENT, 1 - own), (PRESENT, own)):
                self._sums[state, where] += np.where(known == state, chance, 0).sum(axis=0)
                self.counts[state, where] += (known == state).sum(axis=0)

    def means(self) -> np.ndarray:
        """float32 [2, V]: of the label's own side, absent and present; 1 where never seen."""
        means = np.ones_like(self._sums)
        np.divide(self._sums, self.counts, out=means, where=self.counts > 0)
        return means.astype(np.float32)

    def skipped(self) -> list[str]:
        """Attributes of which fewer than two values are known: there is nothing to compare."""
        seen = self.counts[PRESENT] > 0
        return [name for name, where in self.schema.slices.items() if seen[where].sum() < 2]


def probabilities(schema: Schema, logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """float32 [R, V] from logits: softmax over an exclusive attribute's values, else sigmoids.

    What the product's category does not allow gets 0. Where the category is missing, the heads'
    own best one stands for it, for empty cells alone.
    """
    where = schema.slices[schema.category]
    given = codes[:, where] == PRESENT  # [R, C]
    category = np.where(given.any(axis=1), given.argmax(axis=1), logits[:, where].argmax(axis=1))
    guessed = ~given.any(axis=1, keepdims=True)
    allowed = schema.allowed[category] | (guessed & (codes != MISSING))  # [R, V]
    chances = np.empty(logits.shape, np.float32)
    for attribute in schema.attributes:
        part = schema.slices[attribute.name]
        z, may = logits[:, part].astype(np.float64), allowed[:, part]
        if attribute.exclusive:
            odds = np.where(may, np.exp(z - z.max(axis=1, keepdims=True)), 0)
            total = odds.sum(axis=1, keepdims=True)
            chances[:, part] = np.divide(odds, total, out=np.zeros_like(odds), where=total > 0)
        else:
            chances[:, part] = np.where(may, 0.5 * (1 + np.tanh(z / 2)), 0)  # never overflows
    return chances


def find(thresholds: Thresholds, chances: np.ndarray, codes: np.ndarray) -> Iterator[Findings]:
    """What is to be looked at in a block of products, attribute by attribute.

    A filled cell is probably wrong where the heads find another answer more probable and give the
    seller's less than LOW of its threshold. Its score is 1 - probability / threshold of the
    seller's answer, of the worst value where there are several. An empty cell could be filled
    where a value reaches its threshold and is LIKELY. Its score is the probability of the proposed
    value, of the least sure one where there are several. Only values that SEEN products have are
    proposed.

    Args:
      chances: float32 [R, V], of `probabilities`.
      codes: int8 [R, V], labels.
    """
    means, skipped = thresholds.means(), thresholds.skipped()
    for attribute in thresholds.schema.attributes:
        where = thresholds.schema.slices[attribute.name]
        if attribute.name in skipped:
            continue
        p, y, mean = chances[:, where], codes[:, where], means[:, where]
        usual = thresholds.counts[PRESENT, where] >= SEEN  # [V_t]
        judge = _one_choice if attribute.exclusive else _choices
        share, proposed = judge(p, y, mean, usual)
        rows = np.flatnonzero((y == PRESENT).any(axis=1) & (share < LOW))
        yield Findings(attribute, False, rows, 1 - share[rows], proposed[rows])
        fits = usual & (p >= np.maximum(mean[PRESENT], LIKELY))  # [R, V_t]
        if attribute.exclusive:
            fits &= _is_best(np.where(fits, p, -1))
        rows = np.flatnonzero((y == MISSING).all(axis=1) & fits.any(axis=1))
        least = np.where(fits[rows], p[rows], 1).min(axis=1)
        yield Findings(attribute, True, rows, least, fits[rows])


def _one_choice(
    p: np.ndarray, y: np.ndarray, mean: np.ndarray, usual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """float32 [R], the seller's probability / its threshold, 1 where the heads agree with it; and
    bool [R, V_t], the other value to propose."""
    present = y == PRESENT
    own = np.where(present, p, 0).max(axis=1)  # [R]
    share = own / np.where(present, mean[PRESENT], 0).max(axis=1, initial=TINY)
    others = np.where(~present & usual, p, -1)
    return np.where(others.max(axis=1) > own, share, 1), _is_best(others)


def _choices(
    p: np.ndarray, y: np.ndarray, mean: np.ndarray, usual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same of an attribute of several values: its worst one; and all values to propose."""
    present = y == PRESENT
    own = np.where(present, p, 1 - p)
    share = own / np.maximum(np.where(present, mean[PRESENT], mean[ABSENT]), TINY)  # [R, V_t]
    share = np.where((y != MISSING) & usual & (own < 0.5), share, 1)
    return share.min(axis=1), present ^ (share < LOW)


def _is_best(scores: np.ndarray) -> np.ndarray:
    """bool [R, V_t]: the highest of each row, the first of equal ones."""
    best = np.zeros(scores.shape, bool)
    best[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return best
