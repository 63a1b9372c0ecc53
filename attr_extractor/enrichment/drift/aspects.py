"""The four aspects of a delivery that are compared: labels, photos, scores, embedding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from attr_extractor.enrichment.drift import embeddings
from attr_extractor.enrichment.drift.compare import (
    AUC,
    Comparison,
    Permutations,
    compare_counts,
    compare_numbers,
    compare_share,
)
from attr_extractor.enrichment.drift.delivery import Delivery
from attr_extractor.enrichment.drift.label_counts import LabelCounts, UnknownValues
from attr_extractor.enrichment.drift.photos import APPEARANCE, DeliveredPhotos
from attr_extractor.enrichment.drift.reference import TrainingSplit
from attr_extractor.model.answers import Answers
from attr_extractor.schema import Attribute, Schema

LABELS, PHOTOS, SCORES, EMBEDDING = ASPECTS = ("labels", "photos", "scores", "embedding")
STATES = ("filled", "not applicable", "missing")
NO_ANSWER = "(no answer)"
MISSED = 10  # minimum expected products of a value to report it as absent
LISTED = 5  # values or reasons named in a note


def compare_labels(
    schema: Schema, reference: LabelCounts, delivery: Delivery, permutations: Permutations
) -> list[Comparison]:
    """Compare the states of every attribute, and the values of filled attributes."""
    sides = (reference, delivery.counts)
    comparisons = []
    for t, attribute in enumerate(schema.attributes):
        where, title = schema.slices[attribute.name], attribute.title()
        states = (reference.states[t], delivery.counts.states[t])
        effective = (states[0] * sides[0].scale, states[1] * sides[1].scale)
        subject = (LABELS, title, "filled")
        filled = compare_counts(subject, STATES, states, permutations, effective)
        if attribute.name not in delivery.columns:
            filled = filled.with_notes("the table has no such column")
        comparisons.append(filled)
        if not (states[0][0] and states[1][0]):
            continue
        present = (reference.present[where], delivery.counts.present[where])
        # a product with several values counts once in total
        effective = (
            present[0] * (effective[0][0] / present[0].sum()),
            present[1] * (effective[1][0] / present[1].sum()),
        )
        subject = (LABELS, title, "values")
        values = compare_counts(subject, attribute.values, present, permutations, effective)
        comparisons.append(values.with_notes(*_new_and_absent(attribute, *effective)))
    return comparisons


def compare_unknown_values(
    schema: Schema,
    reference: Mapping[str, UnknownValues],
    delivery: Mapping[str, UnknownValues],
    rows: tuple[int, int],
) -> list[Comparison]:
    """Compare the share of rows with an unknown value, for every attribute that has any.

    Args:
      rows: number of usable rows in the table of the records and in the delivery.
    """
    comparisons = []
    for attribute in schema.attributes:
        before, now = reference[attribute.name], delivery[attribute.name]
        if not before.cells and not now.cells:
            continue
        new = Counter({s: n for s, n in now.spellings.items() if s not in before.spellings})
        notes = []
        for spelling, count in new.most_common(LISTED):
            nearest = now.nearest[spelling]
            guess = f", nearest to {nearest!r}" if nearest else ""
            notes.append(f"new: {spelling!r} in {_rows(count)}{guess}")
        if len(new) > LISTED:
            notes.append(f"{len(new) - LISTED:,} more new spellings")
        subject = (LABELS, attribute.title(), "unknown values")
        names, cells = ("unknown", "known, or empty"), (before.cells, now.cells)
        comparisons.append(compare_share(subject, names, cells, rows).with_notes(*notes))
    return comparisons


def compare_rows(delivery: Delivery, records_rows: Mapping[str, int]) -> Comparison:
    """Compare the share of unusable rows; for the counts of the records see `Manifest.rows`."""
    unusable = (records_rows["rejected"], delivery.rows - delivery.products)
    subject, names = (LABELS, "Rows", "not usable"), ("not usable", "used")
    notes = [f"{_rows(count)}: {reason}" for reason, count in delivery.rejects.most_common()]
    total = (records_rows["read"], delivery.rows)
    return compare_share(subject, names, unusable, total).with_notes(*notes)


def compare_files(
    reference: TrainingSplit,
    delivery: DeliveredPhotos,
    rejected: int,
    written: int,
    permutations: Permutations,
) -> list[Comparison]:
    """Compare formats, sizes and the share of unreadable photos.

    Args:
      rejected: number of photos that the build could not read.
      written: number of photos that the build wrote.
    """
    names = sorted({*reference.formats, *delivery.formats})
    before, now = (
        np.array([counts[name] for name in names], float)
        for counts in (Counter(reference.formats), Counter(delivery.formats))
    )
    comparisons = [compare_counts((PHOTOS, "Format", ""), names, (before, now), permutations)]
    sizes = (reference.sizes, np.array(delivery.sizes, np.float64))
    for name, number in _SIZES.items():
        numbers = (number(sizes[0]), number(sizes[1]))
        comparisons.append(compare_numbers((PHOTOS, name, ""), *numbers, permutations))
    unreadable = compare_share(
        (PHOTOS, "Not readable", ""),
        ("not readable", "readable"),
        (rejected, len(delivery.rejects)),
        (rejected + written, len(delivery.rejects) + len(delivery.stored)),
    )
    return [*comparisons, unreadable.with_notes(*delivery.rejects[:LISTED])]


_SIZES = {
    "Width": lambda sizes: sizes[:, 1],
    "Height": lambda sizes: sizes[:, 0],
    "Width over height": lambda sizes: sizes[:, 1] / sizes[:, 0],
    "Bytes per pixel": lambda sizes: sizes[:, 2] / (sizes[:, 0] * sizes[:, 1]),
}


def compare_appearance(
    reference: np.ndarray, delivery: np.ndarray, permutations: Permutations
) -> list[Comparison]:
    """Compare the appearance of photos, float64 [N, 4] and [M, 4]."""
    return [
        compare_numbers((PHOTOS, name, ""), reference[:, i], delivery[:, i], permutations)
        for i, name in enumerate(APPEARANCE)
    ]


def compare_scores(
    answers: Answers, reference: np.ndarray, delivery: np.ndarray, permutations: Permutations
) -> list[Comparison]:
    """Compare best score and answers of every attribute; scores float32 [N, V] and [M, V]."""
    chosen = [answers.chosen(side).numpy() for side in (reference, delivery)]
    comparisons = []
    for attribute in answers.schema.attributes:
        where, title = answers.schema.slices[attribute.name], attribute.title()
        best = (reference[:, where].max(axis=1), delivery[:, where].max(axis=1))
        comparisons.append(compare_numbers((SCORES, title, "best score"), *best, permutations))
        counts = (_count_answers(chosen[0][:, where]), _count_answers(chosen[1][:, where]))
        names = [*attribute.values, NO_ANSWER]
        comparisons.append(compare_counts((SCORES, title, "answers"), names, counts, permutations))
    return comparisons


def compare_embeddings(
    reference: np.ndarray, delivery: np.ndarray, permutations: Permutations
) -> list[Comparison]:
    """Compare the embeddings by separability; return nothing if a side has too few photos."""
    if min(len(reference), len(delivery)) < embeddings.LEAST:
        return []
    effect = embeddings.separability(reference, delivery, permutations)
    products = (len(reference), len(delivery))
    return [Comparison(EMBEDDING, "Separability", "", AUC, *effect, products)]


def _count_answers(chosen: np.ndarray) -> np.ndarray:
    """Return float64 [V_t + 1], how often each value is answered.

    The last element counts photos without an answer. The sum is N for `chosen`, bool [N, V_t].
    """
    each = chosen / np.maximum(1, chosen.sum(axis=1, keepdims=True))
    return np.append(each.sum(axis=0), (~chosen.any(axis=1)).sum())


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count > 1 else ''}"


def _new_and_absent(attribute: Attribute, before: np.ndarray, now: np.ndarray) -> list[str]:
    new = np.flatnonzero((before == 0) & (now > 0))
    expected = before / before.sum() * now.sum()
    absent = np.flatnonzero((expected >= MISSED) & (now == 0))
    notes = []
    for indices, meaning in ((new, "never in training"), (absent, "absent from the delivery")):
        if len(indices):
            listed = ", ".join(attribute.values[i] for i in indices[:LISTED])
            more = len(indices) - LISTED
            notes.append(f"{meaning}: {listed}" + (f" and {more} more" if more > 0 else ""))
    return notes
