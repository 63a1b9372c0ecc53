"""Tests of `model/evidence.py` and `Scoring.in_context` against NumPy and Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model.evidence import Evidence
from attr_extractor.model.scoring import Scoring
from attr_extractor.records import words
from attr_extractor.schema import Schema

SIZES = [2, 40, 3]
owner = np.repeat(np.arange(3), SIZES)
WIDTH = 4


@pytest.fixture
def layer() -> Evidence:
    built = Evidence(SIZES, WIDTH, ["known", "text"])
    built([tf.zeros([1, 45], tf.int8), tf.zeros([1, words.WORDS, words.PIECES], tf.int32)])
    generator = np.random.default_rng(0)
    built.set_weights([generator.normal(size=w.shape).astype("f") for w in built.get_weights()])
    return built


def vectors(layer: Evidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(w.numpy() for w in (layer.for_values, layer.of_cells, layer.of_pieces))


def products(seed: int, rows: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    known = generator.choice([-1, 0, 1], size=[rows, 45]).astype(np.int8)
    texts = ["red dress", "", "été velvet", "a b c", "red"][:rows]
    return known, words.pieces(tf.constant(texts)).numpy()


def test_evidence_is_the_sum_over_other_cells_and_words(layer: Evidence):
    known, text = products(1)
    for_values, of_cells, of_pieces = vectors(layer)
    expected = np.zeros([5, 45])
    for b in range(5):
        told = np.zeros(WIDTH)
        for word in text[b]:
            if (word > 0).any():
                told += of_pieces[word[word > 0]].mean(axis=0)
        for v in range(45):
            cells = of_cells[(known[b] == 1) & (owner != owner[v])].sum(axis=0)
            expected[b, v] = (told + cells) @ for_values[v]
    np.testing.assert_allclose(layer([known, text]), expected, rtol=1e-4, atol=1e-4)


def test_shares_are_the_terms_of_the_evidence(layer: Evidence):
    known, text = products(1)
    cells = [np.flatnonzero(row == 1) for row in known]
    width = max(map(len, cells))
    padded = np.array([np.pad(each, (0, width - len(each)), constant_values=-1) for each in cells])
    asked = np.tile(np.append(np.arange(45), -1), [5, 1])
    inputs = (tf.constant(each, tf.int32) for each in (padded, text, asked))
    shares = layer.shares(*inputs).numpy()
    assert shares.shape == (5, 46, width + words.WORDS)
    evidence = layer([known, text]).numpy()
    np.testing.assert_allclose(shares.sum(axis=2)[:, :45], evidence, rtol=1e-4, atol=1e-4)
    assert not shares[:, 45].any()  # no value asked for
    for_values, of_cells, _ = vectors(layer)
    of_first = cells[0][-1]  # of attribute 2
    expected = np.where(owner != owner[of_first], for_values @ of_cells[of_first], 0.0)
    found = shares[0, :45, len(cells[0]) - 1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_cell_is_no_evidence_for_its_own_attribute(layer: Evidence):
    known, text = products(2)
    for t in range(3):
        changed = known.copy()
        changed[:, owner == t] = np.random.default_rng(t).choice([-1, 0, 1], [5, SIZES[t]])
        before, after = (layer([each, text]).numpy() for each in (known, changed))
        np.testing.assert_allclose(before[:, owner == t], after[:, owner == t], atol=1e-4)
        assert np.abs(before - after).max() > 0.1  # it is for the others


def test_nothing_known_is_no_evidence_at_all(layer: Evidence):
    nothing = layer(
        [-tf.ones([2, 45], tf.int8), tf.zeros([2, words.WORDS, words.PIECES], tf.int32)]
    )
    absent = layer([tf.zeros([2, 45], tf.int8), words.pieces(tf.constant(["", " ?! "]))])
    assert not np.any(nothing) and not np.any(absent)


@pytest.mark.parametrize("names", [["known"], ["text"]])
def test_either_input_alone_is_its_part_of_the_sum(layer: Evidence, names: list[str]):
    known, text = products(3)
    alone = Evidence(SIZES, WIDTH, names)
    given = {"known": known, "text": text}[names[0]]
    alone([given])
    for_values, of_cells, of_pieces = vectors(layer)
    alone.set_weights([for_values, of_cells if names == ["known"] else of_pieces])
    other = {"known": tf.zeros_like(known), "text": tf.zeros_like(text)}
    inputs = [{**other, names[0]: given}[name] for name in ("known", "text")]
    np.testing.assert_allclose(alone([given]), layer(inputs), atol=1e-5)


def test_a_config_rebuilds_the_layer(layer: Evidence):
    again = Evidence.from_config(layer.get_config())
    known, text = products(4)
    again([known, text])
    again.set_weights(layer.get_weights())
    assert np.array_equal(again([known, text]), layer([known, text]))


def scoring_of(schema: Schema, softmax: bool) -> Scoring:
    ones = np.ones(schema.num_values, np.float32)
    trust = np.linspace(0.5, 1.5, len(schema.names), dtype=np.float32)
    return Scoring(schema, schema.exclusive & softmax, ones, np.repeat(trust, schema.sizes))


def test_evidence_changes_a_score_by_bayes_rule(schema: Schema):
    rule = scoring_of(schema, softmax=False)
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.01, 0.99, [6, schema.num_values]).astype(np.float32)
    likelihood_ratio = generator.uniform(0.1, 10, scores.shape)
    odds = scores / (1 - scores) * likelihood_ratio**rule.trust
    found = rule.in_context(tf.constant(scores), tf.constant(np.log(likelihood_ratio), tf.float32))
    np.testing.assert_allclose(found, odds / (1 + odds), rtol=1e-4)


def test_evidence_keeps_a_softmax_a_distribution(schema: Schema):
    rule = scoring_of(schema, softmax=True)
    logits = tf.random.stateless_normal([4, schema.num_values], [1, 2])
    added = tf.random.stateless_normal([4, schema.num_values], [3, 4])
    found = rule.in_context(rule.scores_of(logits), added).numpy()
    np.testing.assert_allclose(found, rule.scores_of(logits + added * rule.trust), rtol=1e-4)


@pytest.mark.parametrize("softmax", [False, True])
def test_without_evidence_scores_are_the_same_to_the_bit(schema: Schema, softmax: bool):
    rule = scoring_of(schema, softmax)
    scores = rule.scores_of(40 * tf.random.stateless_normal([8, schema.num_values], [5, 6]))
    assert np.array_equal(rule.in_context(scores, tf.zeros_like(scores)), scores)


def test_the_surest_scores_stay_numbers(schema: Schema):
    rule = scoring_of(schema, softmax=False)
    scores = tf.constant([[0.0] * schema.num_values, [1.0] * schema.num_values])
    for evidence in (-30.0, 30.0):
        found = rule.in_context(scores, tf.fill(scores.shape, evidence)).numpy()
        assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()
