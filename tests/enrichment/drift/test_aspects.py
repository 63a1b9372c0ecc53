"""Test drift/aspects.py against counts by hand and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attr_extractor.enrichment.drift import aspects
from attr_extractor.enrichment.drift.compare import Permutations
from attr_extractor.enrichment.drift.delivery import Delivery
from attr_extractor.enrichment.drift.label_counts import LabelCounts, UnknownValues
from attr_extractor.labels import encode
from attr_extractor.model.answers import Answers


@pytest.fixture
def permutations():
    return Permutations(500, np.random.default_rng(0))


def counted(schema, cells: list[dict[str, str]], photos: int) -> LabelCounts:
    counts = LabelCounts.zeros(schema)
    codes = np.stack([encode(schema, each)[0] for each in cells])
    counts.add(schema, codes, np.full(len(cells), photos))
    return counts


def compared(schema, permutations, reference: LabelCounts, delivery: LabelCounts) -> dict:
    side = Delivery(delivery, {}, columns=schema.names)
    return {
        (c.subject, c.measure): c
        for c in aspects.compare_labels(schema, reference, side, permutations)
    }


def test_the_p_value_depends_on_products_and_not_on_photos(schema, permutations):
    before = [{"category": ("shirt", "jeans")[i % 2]} for i in range(60)]
    now = [{"category": ("shirt", "jeans")[i % 3 == 0]} for i in range(30)]
    one = compared(schema, permutations, counted(schema, before, 1), counted(schema, now, 1))
    ten = compared(schema, permutations, counted(schema, before, 10), counted(schema, now, 10))
    of_one, of_ten = one["category", "values"], ten["category", "values"]
    assert of_one.products == of_ten.products == (60, 30)
    assert (
        of_one.levels
        == of_ten.levels
        == (("shirt", 0.5, pytest.approx(2 / 3)), ("jeans", 0.5, pytest.approx(1 / 3)))
    )
    assert of_one.size == pytest.approx(of_ten.size)
    assert of_one.p == pytest.approx(of_ten.p, abs=0.08) and of_one.p > 0.05


def test_unequal_photo_counts_reduce_the_effective_number_of_products(schema, permutations):
    counts = LabelCounts.zeros(schema)
    codes = np.stack([encode(schema, {"category": "shirt"})[0]] * 4)
    counts.add(schema, codes, np.array([1, 1, 1, 5]))
    assert counts.photos * counts.scale == pytest.approx(64 / 28)


def test_several_values_of_a_product_count_as_one_product(schema, permutations):
    before = [{"color": "red|blue"}] * 20 + [{"color": "red"}] * 20
    now = [{"color": "green"}] * 10
    c = compared(schema, permutations, counted(schema, before, 1), counted(schema, now, 1))[
        "color", "values"
    ]
    assert c.products == (40, 10)
    assert [(n, pytest.approx(p), q) for n, p, q in c.levels] == [
        ("red", 2 / 3, 0.0),
        ("green", 0.0, 1.0),
        ("blue", 1 / 3, 0.0),
    ]
    assert c.notes == ("never in training: green",)  # too few products to miss red and blue


def test_filled_not_applicable_and_missing_are_counted_separately(schema, permutations):
    before = [{"category": "shirt", "neck_type": "v-neck"}] * 3 + [{"category": "jeans"}]
    now = [{"category": "shirt"}] * 2
    c = compared(schema, permutations, counted(schema, before, 1), counted(schema, now, 1))
    levels = c["neck_type", "filled"].levels
    assert levels == (("filled", 0.75, 0.0), ("not applicable", 0.25, 0.0), ("missing", 0.0, 1.0))
    assert ("neck_type", "values") not in c  # the delivery has none to compare


def test_the_p_value_of_unknown_values_is_hypergeometric(schema):
    before, now = (
        {n: UnknownValues() for n in schema.names},
        {n: UnknownValues() for n in schema.names},
    )
    for _ in range(3):
        before["color"].add("teal", "")
    for cell in ("teal", "teal", "Pink", "pink", "pinkk"):
        now["color"].add(cell, "")
    (c,) = aspects.compare_unknown_values(schema, before, now, (400, 100))
    expected = stats.hypergeom(500, 8, 100).sf(4)  # at least 5 of the 8 cells are in the delivery
    assert c.p == pytest.approx(expected)
    assert c.size == pytest.approx(0.05 - 0.0075)
    assert c.notes == ("new: 'pink' in 2 rows", "new: 'pinkk' in 1 row")


def test_answers_and_best_scores_are_compared(schema, permutations):
    answers = Answers(schema, np.full(schema.num_values, 0.5, np.float32))
    scores = np.full([50, schema.num_values], 0.1, np.float32)
    scores[:, schema.slices["category"].start] = 0.9
    scores[:20, schema.slices["color"]] = 0.7
    found = {
        (c.subject, c.measure): c
        for c in aspects.compare_scores(answers, scores, scores[:30], permutations)
    }
    assert len(found) == 2 * len(schema.attributes)
    assert found["category", "answers"].levels == (("shirt", 1.0, 1.0),)
    of_color = {name: (p, q) for name, p, q in found["color", "answers"].levels}
    assert of_color["red"] == (pytest.approx(20 / 3 / 50), pytest.approx(20 / 3 / 30))
    assert of_color["(no answer)"] == (pytest.approx(0.6), pytest.approx(1 / 3))
    best = {name: (p, q) for name, p, q in found["category", "best score"].levels}
    assert list(best.values()) == [(1.0, 1.0)]


def test_embeddings_of_too_few_photos_are_not_compared(permutations):
    points = np.eye(30, dtype=np.float32)
    assert aspects.compare_embeddings(points, points[:19], permutations) == []
    assert len(aspects.compare_embeddings(points, points[:20], permutations)) == 1
