"""Tests of `training/hiding.py`: what a training photo shows of its product."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.schema import Schema
from attr_extractor.training import hiding


@pytest.fixture
def batch(schema: Schema) -> dict[str, tf.Tensor]:
    generator = np.random.default_rng(0)
    labels = np.zeros([4000, schema.num_values], np.int8)
    for where in schema.slices.values():
        size = where.stop - where.start
        labels[np.arange(4000), where.start + generator.integers(0, size, 4000)] = 1
        labels[generator.random(4000) < 0.2, where] = -1
    return {"labels": tf.constant(labels), "text": tf.ones([4000, 16, 16], tf.int32)}


def shown(batch, schema: Schema, swapped: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    found = hiding.hide(batch, ["known", "text"], swapped, schema, tf.constant([seed, 2], tf.int64))
    return found["known"].numpy(), found["text"].numpy()


def test_cells_are_hidden_as_a_whole_by_a_share_that_is_uniform(batch, schema: Schema):
    labels, (known, _) = batch["labels"].numpy(), shown(batch, schema, swapped=0)
    kept = []
    for where in schema.slices.values():
        same = (known[:, where] == labels[:, where]).all(axis=1)
        hidden = (known[:, where] == -1).all(axis=1)
        assert (same | hidden).all()
        kept.append(~hidden[(labels[:, where] != -1).all(axis=1)].ravel())
    assert np.mean(np.concatenate(kept)) == pytest.approx(0.5, abs=0.03)
    filled = (labels[:, [w.start for w in schema.slices.values()]] != -1).all(axis=1)
    cells = known[filled][:, [w.start for w in schema.slices.values()]] != -1
    # a photo's cells share their draw: all or none are shown far more often than by single draws
    count = cells.shape[1]
    assert np.mean(cells.all(axis=1)) == pytest.approx(1 / (count + 1), abs=0.04)


def test_wrong_cells_are_those_of_another_product(batch, schema: Schema):
    labels, (known, _) = batch["labels"].numpy(), shown(batch, schema, swapped=0.3)
    wrong = total = 0
    for where in schema.slices.values():
        told = (known[:, where] != -1).all(axis=1)
        own = (known[:, where] == labels[:, where]).all(axis=1)
        partner = (known[:, where] == labels[::-1][:, where]).all(axis=1)
        assert (own | partner)[told].all()
        wrong += (told & ~own).sum()
        total += told.sum()
    assert 0.1 < wrong / total < 0.3  # a partner's cell may be equal


def test_three_texts_of_four_are_shown_and_a_seed_repeats_itself(batch, schema: Schema):
    known, text = shown(batch, schema, 0.05)
    assert set(text.reshape(4000, -1).mean(axis=1)) == {0.0, 1.0}
    assert text.mean() == pytest.approx(0.75, abs=0.03)
    again, other = shown(batch, schema, 0.05), shown(batch, schema, 0.05, seed=9)
    assert np.array_equal(known, again[0]) and np.array_equal(text, again[1])
    assert not np.array_equal(known, other[0]) and not np.array_equal(text, other[1])


def test_only_the_inputs_of_the_network_are_returned(batch, schema: Schema):
    found = hiding.hide(batch, ["text"], 0.0, schema, tf.constant([1, 2], tf.int64))
    assert list(found) == ["text"]
