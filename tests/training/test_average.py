"""The moving average, compared with the recursion in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model.keras_versions import optimizer_options
from attr_extractor.training.average import MovingAverage, ValidateAverage
from attr_extractor.training.optimizer import FusedAdamW, Group


def made(momentum: float = 0.9) -> tuple[MovingAverage, list[tf.Variable]]:
    generator = np.random.default_rng(0)
    weights = [tf.Variable(generator.normal(size=s).astype(np.float32)) for s in ([3, 2], [4])]
    return MovingAverage(weights, momentum), weights


@pytest.mark.parametrize("momentum", [0.3, 0.999])
@pytest.mark.parametrize("traced", [False, True])
def test_the_average_follows_the_recursion(momentum, traced):
    average, weights = made(momentum)
    expected = [w.numpy().astype(np.float64) for w in weights]
    update = tf.function(average.update) if traced else average.update
    generator = np.random.default_rng(1)
    for step in range(12):
        m = min(momentum, (1 + step) / (10 + step))
        for i, weight in enumerate(weights):
            weight.assign(generator.normal(size=weight.shape))
            expected[i] = m * expected[i] + (1 - m) * weight.numpy()
        update(tf.constant(step, tf.int64))
    for found, by_hand in zip(average.averages, expected):
        np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-6)


def test_integers_have_no_average():
    """Some of KerasHub's layers keep the indices of their positions as a weight."""
    indices, weight = tf.Variable([0, 1, 2], dtype=tf.int64), tf.Variable([1.0])
    average = MovingAverage([indices, weight], 0.9)
    weight.assign([3.0])
    average.update(tf.constant(0))  # m = 0.1
    with average.in_place():
        assert indices.numpy().tolist() == [0, 1, 2]
        np.testing.assert_allclose(weight, 0.1 * 1.0 + 0.9 * 3.0, rtol=1e-6)
    assert weight.numpy() == 3.0


def test_the_first_steps_have_little_weight():
    average, weights = made(0.999)
    for step in range(30):
        for weight in weights:
            weight.assign(tf.ones_like(weight))
        average.update(tf.constant(step))
    # what a start leaves behind: the product of (1 + s) / (10 + s) over 30 steps
    left = np.prod([(1 + s) / (10 + s) for s in range(30)])
    assert left < 1e-7 < 0.999**30
    for found in average.averages:
        np.testing.assert_allclose(found, 1.0, atol=1e-6)


def test_in_place_swaps_in_the_averages_and_restores_both_exactly():
    average, weights = made()
    for weight in weights:
        weight.assign(weight * 1.2345678)
    average.update(tf.constant(3))
    before = [w.numpy() for w in weights]
    averages = [a.numpy() for a in average.averages]
    with average.in_place():
        for weight, value in zip(weights, averages):
            np.testing.assert_array_equal(weight, value)
    with pytest.raises(ValueError, match="inside"), average.in_place():
        raise ValueError("inside")
    for weight, value in zip(weights, before):
        np.testing.assert_array_equal(weight, value)
    for found, value in zip(average.averages, averages):
        np.testing.assert_array_equal(found, value)


def test_a_step_after_in_place_updates_weights_and_averages_separately():
    """Swapped values share memory for a while, and ApplyAdam writes in place."""
    average, weights = made()
    optimizer = FusedAdamW(0.1, lambda v: Group(), **optimizer_options())
    optimizer.build(weights)
    averages = [a.numpy() for a in average.averages]
    with average.in_place():
        pass
    optimizer.apply_gradients([(tf.ones_like(w), w) for w in weights])
    for found, value in zip(average.averages, averages):
        np.testing.assert_array_equal(found, value)
    moved = [w.numpy() for w in weights]
    average.update(tf.constant(0))
    for weight, value, found, old in zip(weights, moved, average.averages, averages):
        np.testing.assert_array_equal(weight, value)
        np.testing.assert_allclose(found, old - 0.9 * 0.1, atol=1e-6)


def test_averages_include_batch_statistics_and_are_not_trainable():
    inputs = keras.Input([4])
    model = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    average = MovingAverage(model.weights, 0.9)
    assert len(average.averages) == 4
    assert not any(a.trainable for a in average.averages)


def test_averages_are_saved_and_restored(tmp_path):
    average, weights = made()
    weights[0].assign_add(tf.ones_like(weights[0]))
    average.update(tf.constant(5))
    path = tf.train.Checkpoint(average=average).save(str(tmp_path / "c"))
    other, _ = made()
    tf.train.Checkpoint(average=other).restore(path).assert_consumed()
    for found, expected in zip(other.averages, average.averages):
        np.testing.assert_array_equal(found, expected)


def test_validation_uses_the_averages_and_training_the_weights():
    class Seen(keras.callbacks.Callback):
        values: list = []

        def on_test_batch_begin(self, batch, logs=None):
            self.values.append(float(np.ravel(self.model.weights[0])[0]))

    inputs = keras.Input([1])
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    model.compile(loss="mse")
    model.average = MovingAverage(model.weights, 0.9)
    model.weights[0].assign([[7.0]])
    model.average.averages[0].assign([[3.0]])
    data = np.ones([2, 1], np.float32)
    model.evaluate(data, data, verbose=0, callbacks=[ValidateAverage(), Seen()])
    assert Seen.values == [3.0] and float(np.ravel(model.weights[0])[0]) == 7.0
    model.average = None
    model.evaluate(data, data, verbose=0, callbacks=[ValidateAverage(), Seen()])
    assert Seen.values == [3.0, 7.0]
