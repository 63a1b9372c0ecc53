"""Dropout depends on the seed and on the layer's name only."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model import noise

ONES = np.ones([40, 50], np.float32)


def dropped(layer, seed, inputs=ONES) -> np.ndarray:
    with noise.keyed(tf.constant(seed, tf.int64)):
        return tf.cast(layer(inputs, training=True), tf.float32).numpy()


def test_dropout_depends_on_the_seed():
    layer, twin = noise.Dropout(0.5, name="a"), noise.Dropout(0.5, name="a")
    first = dropped(layer, [0, 7])
    np.testing.assert_array_equal(first, dropped(layer, [0, 7]))
    np.testing.assert_array_equal(first, dropped(twin, [0, 7]))  # as in a restarted process
    for other in (dropped(layer, [0, 8]), dropped(layer, [1, 7]), dropped(layer, [7, 0])):
        assert 0.4 < (first != other).mean() < 0.6


def test_two_layers_draw_independently_from_one_seed():
    # their names' checksums lie on either side of 2^31
    first, second = (dropped(noise.Dropout(0.5, name=n), [0, 7]) for n in ("a", "block2b_drop"))
    assert 0.4 < (first != second).mean() < 0.6


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_rate_and_keeps_the_mean(rate):
    found = dropped(noise.Dropout(rate, name="a"), [0, 1], np.full([200, 300], 3.0, np.float32))
    assert set(np.unique(found.round(4))) == {0.0, np.float32(3.0 / (1 - rate)).round(4)}
    assert (found == 0).mean() == pytest.approx(rate, abs=0.01)
    assert found.mean() == pytest.approx(3.0, abs=0.1)


def test_bfloat16_drops_the_same_units():
    wide, narrow = noise.Dropout(0.2, name="a"), noise.Dropout(0.2, name="a", dtype="bfloat16")
    expected, found = dropped(wide, [0, 1]), dropped(narrow, [0, 1])
    np.testing.assert_allclose(found, expected, rtol=0.01)


def test_noise_shape_drops_whole_photos():
    layer = noise.Dropout(0.5, (None, 1, 1, 1), name="a")
    found = dropped(layer, [0, 3], np.ones([64, 4, 4, 2], np.float32)).reshape(64, -1)
    assert set(found.min(axis=1)) == set(found.max(axis=1)) == {0.0, 2.0}
    np.testing.assert_array_equal(found.min(axis=1), found.max(axis=1))


def test_evaluation_and_rate_0_change_nothing_and_need_no_seed():
    np.testing.assert_array_equal(noise.Dropout(0.5)(ONES), ONES)
    np.testing.assert_array_equal(noise.Dropout(0.5)(ONES, training=False), ONES)
    np.testing.assert_array_equal(noise.Dropout(0.0)(ONES, training=True), ONES)


def test_without_a_seed_the_noise_is_drawn_from_tensorflows_generator():
    def drawn() -> np.ndarray:
        tf.random.set_seed(7)
        return noise.Dropout(0.5, name="a")(ONES, training=True).numpy()

    np.testing.assert_array_equal(drawn(), drawn())
    layer = noise.Dropout(0.5, name="a")
    first, second = (layer(ONES, training=True).numpy() for _ in range(2))
    assert (first != second).any()
    assert set(np.unique(first)) == {0, 2}


def test_seeds_nest_and_are_local_to_a_thread():
    layer = noise.Dropout(0.5, name="a")
    seen = []
    with noise.keyed(tf.constant([0, 1], tf.int64)):
        inner = dropped(layer, [0, 2])
        outer = layer(ONES, training=True).numpy()
        thread = threading.Thread(target=lambda: seen.append(layer(ONES, training=True).numpy()))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(outer, dropped(layer, [0, 1]))
    assert (inner != outer).any()
    assert (seen[0] != outer).any()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_traced_step_draws_by_seed_and_has_gradients_of_kept_units(jit_compile):
    layer = noise.Dropout(0.5, name="a")

    @tf.function(jit_compile=jit_compile)
    def step(seed):
        x = tf.constant(ONES)
        with tf.GradientTape() as tape, noise.keyed(seed):
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x)

    first, slope = step(tf.constant([0, 1], tf.int64))
    np.testing.assert_array_equal(first, slope)  # y = x * mask / 0.5 at x = 1
    second, _ = step(tf.constant([0, 2], tf.int64))
    assert 0.4 < (first.numpy() != second.numpy()).mean() < 0.6
    np.testing.assert_array_equal(first, step(tf.constant([0, 1], tf.int64))[0])
