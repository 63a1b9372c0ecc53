"""Cells that are probably wrong and empty cells that could be filled, from out-of-fold logits.

Confident learning (Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", 2021): a class's threshold is its mean probability among the products labelled
with it, so a class that the heads predict with low confidence has a lower threshold. A cell is
judged by the ratio of its value's probability to that value's threshold. The paper's further
condition, that the other class reaches its own threshold, is applied to empty cells only.

An exclusive attribute is a choice among its values, the classes. For any other attribute, each
value is a separate choice between present and absent. Missing labels are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attr_extractor.evaluation.audit.features import Products
from attr_extractor.evaluation.audit.heads import Heads
from attr_extractor.labels import ABSENT, MISSING, PRESENT
from attr_extractor.schema import Attribute, Schema

SEEN = 5  # minimum products with a value, for its threshold to be meaningful
TINY = 1e-12  # minimum threshold, against division by 0
LOW = 0.5  # share of its threshold below which a value is suspicious
NUMBERS = 2**22  # logits per block
LIKELY = 0.5  # minimum probability of a value that fills an empty cell


@dataclass(frozen=True)
class Findings:
    """Cells of one attribute in a block of products."""

    attribute: Attribute
    empty: bool  # True: empty cells that could be filled; False: probably wrong cells
    rows: np.ndarray  # int64 [n], positions in the block
    scores: np.ndarray  # float32 [n]
    proposed: np.ndarray  # bool [n, V_t]


class LabelThresholds:
    """Mean probability of each value's label among the products that have or lack the value."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self._sums = np.zeros([2, schema.num_values])
        self.counts = np.zeros([2, schema.num_values], np.int64)  # products: absent, present

    def add(self, chances: np.ndarray, codes: np.ndarray) -> None:
        """Add a block: `probabilities` float32 [R, V] and labels int8 [R, V]."""
        for where in self.schema.slices.values():
            rows = (codes[:, where] == PRESENT).any(axis=1)  # only cells that apply
            own, known = chances[rows, where], codes[rows, where]
            for state, chance in ((ABSENT, 1 - own), (PRESENT, own)):
                self._sums[state, where] += np.where(known == state, chance, 0).sum(axis=0)
                self.counts[state, where] += (known == state).sum(axis=0)

    def means(self) -> np.ndarray:
        """Return the mean probability of each label, absent and present, float32 [2, V].

        The mean is 1 if the label was never seen.
        """
        means = np.ones_like(self._sums)
        np.divide(self._sums, self.counts, out=means, where=self.counts > 0)
        return means.astype(np.float32)

    def skipped(self) -> list[str]:
        """Return the attributes with fewer than two known values: nothing can be compared."""
        seen = self.counts[PRESENT] > 0
        return [name for name, where in self.schema.slices.items() if seen[where].sum() < 2]


def probabilities(schema: Schema, logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return probabilities float32 [R, V]: softmax for exclusive attributes, else sigmoid.

    Values that the product's category does not allow get 0. If the category is missing, the
    heads' best category is used instead, for empty cells only.
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


def blocks(
    products: Products, heads: Heads, schema: Schema
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (first product, probabilities float32 [R, V], labels int8 [R, V]) per block."""
    rows = max(1, NUMBERS // schema.num_values)
    for start in range(0, len(products.labels), rows):
        codes = np.array(products.labels[start : start + rows])
        logits = heads.logits(products.features[start : start + rows], start)
        yield start, probabilities(schema, logits, codes), codes


def find_cells(
    thresholds: LabelThresholds, chances: np.ndarray, codes: np.ndarray
) -> Iterator[Findings]:
    """Yield the findings in a block of products, attribute by attribute.

    A filled cell is probably wrong if the heads find another answer more probable and the
    probability of the seller's answer is below LOW times its threshold. Its score is
    1 - probability / threshold of the seller's answer (of the worst value if there are several).
    An empty cell could be filled if a value reaches its threshold and LIKELY. Its score is the
    probability of the proposed value (the lowest if there are several). Only values of at least
    SEEN products are proposed.

    Args:
      chances: float32 [R, V], see `probabilities`.
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
            fits &= is_best(np.where(fits, p, -1))
        rows = np.flatnonzero((y == MISSING).all(axis=1) & fits.any(axis=1))
        least = np.where(fits[rows], p[rows], 1).min(axis=1)
        yield Findings(attribute, True, rows, least, fits[rows])


def _one_choice(
    p: np.ndarray, y: np.ndarray, mean: np.ndarray, usual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Judge the cells of an exclusive attribute.

    Returns:
      float32 [R], the seller's probability / its threshold, 1 if the heads agree with the seller;
      and bool [R, V_t], the other value to propose.
    """
    present = y == PRESENT
    own = np.where(present, p, 0).max(axis=1)  # [R]
    share = own / np.where(present, mean[PRESENT], 0).max(axis=1, initial=TINY)
    others = np.where(~present & usual, p, -1)
    return np.where(others.max(axis=1) > own, share, 1), is_best(others)


def _choices(
    p: np.ndarray, y: np.ndarray, mean: np.ndarray, usual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Judge the cells of any other attribute: the worst value's ratio; all values to propose."""
    present = y == PRESENT
    own = np.where(present, p, 1 - p)
    share = own / np.maximum(np.where(present, mean[PRESENT], mean[ABSENT]), TINY)  # [R, V_t]
    share = np.where((y != MISSING) & usual & (own < 0.5), share, 1)
    return share.min(axis=1), present ^ (share < LOW)


def is_best(scores: np.ndarray) -> np.ndarray:
    """Return bool [R, V_t]: the highest score of each row, the first of ties."""
    best = np.zeros(scores.shape, bool)
    best[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return best
