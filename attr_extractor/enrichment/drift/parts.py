"""Comparisons by part: labels, photos, scores, embedding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attr_extractor.enrichment.drift import clouds, compare, looks
from attr_extractor.enrichment.drift.compare import AUC, PSI, SHARE, Comparison
from attr_extractor.enrichment.drift.delivery import Delivery, Unknown
from attr_extractor.enrichment.drift.label_counts import LabelCounts
from attr_extractor.enrichment.drift.reference import Reference
from attr_extractor.enrichment.drift.views import Files
from attr_extractor.model.answers import Answers
from attr_extractor.schema import Attribute, Schema

LABELS, PHOTOS, SCORES, EMBEDDING = PARTS = ("labels", "photos", "scores", "embedding")
STATES = ("filled", "not applicable", "missing")
NO_ANSWER = "(no answer)"
GONE = 10  # minimum expected products of a value to report it as absent
LISTED = 5


@dataclass(frozen=True)
class Chance:
    """Random number generator and number of draws for estimates of chance."""

    draws: int
    rng: np.random.Generator

    def counts(
        self,
        subject: tuple[str, str, str],
        names: Sequence[str],
        shown: tuple[np.ndarray, np.ndarray],
        counted: tuple[np.ndarray, np.ndarray],
    ) -> Comparison:
        """Compare counts of values, displayed in one unit and tested in effective products."""
        found = compare.of_counts(*counted, self.draws, self.rng)
        products = (round(float(counted[0].sum())), round(float(counted[1].sum())))
        return Comparison(
            *(*subject, PSI, *found), products=products, levels=compare.levels(names, *shown)
        )


def labels(
    schema: Schema, reference: LabelCounts, delivery: Delivery, chance: Chance
) -> list[Comparison]:
    """Compare the states of every attribute, and the values of filled attributes."""
    sides = (reference, delivery.counts)
    found = []
    for t, attribute in enumerate(schema.attributes):
        where, title = schema.slices[attribute.name], attribute.title()
        states = (reference.states[t], delivery.counts.states[t])
        scaled = (states[0] * sides[0].scale, states[1] * sides[1].scale)
        filled = chance.counts((LABELS, title, "filled"), STATES, states, scaled)
        if attribute.name not in delivery.columns:
            filled.notes.append("the table has no such column")
        found.append(filled)
        if not (states[0][0] and states[1][0]):
            continue
        present = (reference.present[where], delivery.counts.present[where])
        # a product with several values counts once in total
        scaled = (
            present[0] * (scaled[0][0] / present[0].sum()),
            present[1] * (scaled[1][0] / present[1].sum()),
        )
        values = chance.counts((LABELS, title, "values"), attribute.values, present, scaled)
        values.notes += _new_and_gone(attribute, *scaled)
        found.append(values)
    return found


def rows(delivery: Delivery, of_records: Mapping[str, int]) -> Comparison:
    """Compare the share of unusable rows; the counts of the records are in `Manifest.rows`."""
    not_used = (of_records["rejected"], delivery.read - delivery.products)
    subject, names = (LABELS, "Rows", "not usable"), ("not usable", "used")
    c = _grown(subject, names, not_used, (of_records["read"], delivery.read))
    c.notes += [f"{_rows(count)}: {reason}" for reason, count in delivery.rejects.most_common()]
    return c


def unknown(
    schema: Schema,
    reference: dict[str, Unknown],
    delivery: dict[str, Unknown],
    of: tuple[int, int],
) -> list[Comparison]:
    """Compare the share of rows with an unknown value, for every attribute that has any.

    Args:
      of: number of usable rows in the table of the records and in the delivery.
    """
    found = []
    for attribute in schema.attributes:
        before, now = reference[attribute.name], delivery[attribute.name]
        if not before.cells and not now.cells:
            continue
        names, title = ("unknown", "known, or empty"), attribute.title()
        c = _grown((LABELS, title, "unknown values"), names, (before.cells, now.cells), of)
        new = Counter({s: n for s, n in now.spellings.items() if s not in before.spellings})
        for spelling, count in new.most_common(LISTED):
            nearest = now.nearest[spelling]
            guess = f", nearest to {nearest!r}" if nearest else ""
            c.notes.append(f"new: {spelling!r} in {_rows(count)}{guess}")
        if len(new) > LISTED:
            c.notes.append(f"{len(new) - LISTED:,} more new spellings")
        found.append(c)
    return found


def files(
    reference: Reference, delivery: Files, unread: tuple[int, int], chance: Chance
) -> list[Comparison]:
    """Compare formats, sizes and the share of unreadable photos.

    Args:
      unread: number of photos that the build rejected, and of all photos that it read.
    """
    names = sorted({*reference.formats, *delivery.formats})
    counts = [Counter(side) for side in (reference.formats, delivery.formats)]
    before, now = (np.array([count[name] for name in names], float) for count in counts)
    found = [chance.counts((PHOTOS, "Format", ""), names, (before, now), (before, now))]
    sides = (reference.sizes, np.array(delivery.sizes, np.float64))
    for name, number in _SIZES.items():
        values = (number(sides[0]), number(sides[1]))
        found.append(compare.of_numbers(PHOTOS, name, "", values, chance.draws, chance.rng))
    failed, all_photos = len(delivery.rejects), len(delivery.rejects) + len(delivery.stored)
    c = _grown(
        *((PHOTOS, "Not readable", ""), ("not readable", "readable")),
        (unread[0], failed),
        (unread[1], all_photos),
    )
    c.notes += delivery.rejects[:LISTED]
    return [*found, c]


_SIZES = {
    "Width": lambda sizes: sizes[:, 1],
    "Height": lambda sizes: sizes[:, 0],
    "Width over height": lambda sizes: sizes[:, 1] / sizes[:, 0],
    "Bytes per pixel": lambda sizes: sizes[:, 2] / (sizes[:, 0] * sizes[:, 1]),
}


def looked_at(reference: np.ndarray, delivery: np.ndarray, chance: Chance) -> list[Comparison]:
    """Compare the appearance of photos; for the arguments see `Views.looks`."""
    return [
        compare.of_numbers(
            PHOTOS, name, "", (reference[:, i], delivery[:, i]), chance.draws, chance.rng
        )
        for i, name in enumerate(looks.FIGURES)
    ]


def scores(
    answers: Answers, reference: np.ndarray, delivery: np.ndarray, chance: Chance
) -> list[Comparison]:
    """Compare best score and predicted values of every attribute; scores float32 [N, V]."""
    chosen = [answers.chosen(side).numpy() for side in (reference, delivery)]
    found = []
    for attribute in answers.schema.attributes:
        where, title = answers.schema.slices[attribute.name], attribute.title()
        best = (reference[:, where].max(axis=1), delivery[:, where].max(axis=1))
        found.append(
            compare.of_numbers(SCORES, title, "best score", best, chance.draws, chance.rng)
        )
        counts = (_answered(chosen[0][:, where]), _answered(chosen[1][:, where]))
        names = [*attribute.values, NO_ANSWER]
        found.append(chance.counts((SCORES, title, "answers"), names, counts, counts))
    return found


def embedding(reference: np.ndarray, delivery: np.ndarray, chance: Chance) -> list[Comparison]:
    """Compare the embeddings by separability; return nothing if a side has too few photos."""
    if min(len(reference), len(delivery)) < clouds.LEAST:
        return []
    area, by_chance, p = clouds.separability(reference, delivery, chance.draws, chance.rng)
    products = (len(reference), len(delivery))
    return [Comparison(EMBEDDING, "Separability", "", AUC, area, by_chance, p, products)]


def _answered(chosen: np.ndarray) -> np.ndarray:
    """Return float64 [V_t + 1], how often each value is predicted.

    The last element counts photos without a prediction. The sum is N for `chosen`, bool [N, V_t].
    """
    each = chosen / np.maximum(1, chosen.sum(axis=1, keepdims=True))
    return np.append(each.sum(axis=0), (~chosen.any(axis=1)).sum())


def _grown(
    subject: tuple[str, str, str],
    names: tuple[str, str],
    cells: tuple[int, int],
    of: tuple[int, int],
) -> Comparison:
    """Test whether an unwanted share has increased, with Fisher's exact test."""
    from scipy import stats  # slow to import

    p = float(stats.hypergeom.sf(cells[1] - 1, sum(of), sum(cells), of[1]))
    counts = [np.array([c, n - c], float) for c, n in zip(cells, of)]
    levels = compare.levels(names, *counts)
    grown = cells[1] / max(1, of[1]) - cells[0] / max(1, of[0])
    return Comparison(*(*subject, SHARE, grown, 0.0, min(1.0, p)), products=of, levels=levels)


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count > 1 else ''}"


def _new_and_gone(attribute: Attribute, before: np.ndarray, now: np.ndarray) -> list[str]:
    new = np.flatnonzero((before == 0) & (now > 0))
    expected = before / before.sum() * now.sum()
    gone = np.flatnonzero((expected >= GONE) & (now == 0))
    notes = []
    for places, what in ((new, "never in training"), (gone, "absent from the delivery")):
        if len(places):
            listed = ", ".join(attribute.values[i] for i in places[:LISTED])
            more = len(places) - LISTED
            notes.append(f"{what}: {listed}" + (f" and {more} more" if more > 0 else ""))
    return notes
