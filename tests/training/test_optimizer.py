"""FusedAdamW, compared with the paper's algorithm in NumPy and with Keras' optimizers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model.keras_versions import optimizer_options
from attr_extractor.training.optimizer import FusedAdamW, Group

SHAPES = {"a": [3, 4], "b": [5], "c": [2, 2]}
GROUPS = {"a": Group(decay=0.1), "b": Group(rate=0.25), "c": Group(rate=2.0, decay=0.02)}
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


class Falling(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rates 0.1, 0.05, 0.0333...: different at every step."""

    def __call__(self, step):
        return 0.1 / (tf.cast(step, tf.float32) + 1.0)


def start() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def slopes(steps: int) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(1)
    return [
        {n: generator.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}
        for _ in range(steps)
    ]


def by_hand(gradients, groups, rate_of=lambda step: 0.1 / (step + 1)) -> dict[str, np.ndarray]:
    """Compute Loshchilov and Hutter 2019, algorithm 2, in float64; None skips a variable.

    epsilon is added to the uncorrected root, as in Kingma and Ba 2015, end of section 2.
    """
    weights = {name: w.astype(np.float64) for name, w in start().items()}
    m = {name: np.zeros(w.shape) for name, w in weights.items()}
    v = {name: np.zeros(w.shape) for name, w in weights.items()}
    for step, of_step in enumerate(gradients):
        for name, g in of_step.items():
            if g is None:
                continue
            rate = rate_of(step) * groups[name].rate
            m[name] = BETA_1 * m[name] + (1 - BETA_1) * g
            v[name] = BETA_2 * v[name] + (1 - BETA_2) * g.astype(np.float64) ** 2
            corrected = rate * np.sqrt(1 - BETA_2 ** (step + 1)) / (1 - BETA_1 ** (step + 1))
            decayed = weights[name] * (1 - rate * groups[name].decay)
            weights[name] = decayed - corrected * m[name] / (np.sqrt(v[name]) + EPSILON)
    return weights


def variables() -> dict[str, tf.Variable]:
    return {name: tf.Variable(w, name=name) for name, w in start().items()}


def fused(rate, groups=GROUPS, **options) -> FusedAdamW:
    return FusedAdamW(
        rate, lambda v: groups[v.name.split(":")[0]], **optimizer_options(), **options
    )


def apply(optimizer, weights, gradients, traced: bool = False) -> dict[str, np.ndarray]:
    def step(of_step):
        optimizer.apply_gradients([(of_step[n], v) for n, v in weights.items()])

    optimizer.build(list(weights.values()))
    step = tf.function(step) if traced else step
    for of_step in gradients:
        step({n: None if g is None else tf.constant(g) for n, g in of_step.items()})
    return {name: v.numpy() for name, v in weights.items()}


def require_equal(found, expected, **tolerance):
    for name in SHAPES:
        np.testing.assert_allclose(found[name], expected[name], **tolerance)


@pytest.mark.parametrize("traced", [False, True])
def test_six_steps_equal_the_papers_algorithm(traced):
    gradients = slopes(6)
    found = apply(fused(Falling()), variables(), gradients, traced)
    require_equal(found, by_hand(gradients, GROUPS), rtol=2e-5, atol=2e-6)


def test_updates_and_clipping_equal_those_of_keras():
    gradients, decay = slopes(5), {name: Group(decay=0.04) for name in SHAPES}
    theirs = keras.optimizers.AdamW(0.01, weight_decay=0.04, **optimizer_options())
    expected = apply(theirs, variables(), gradients)
    require_equal(apply(fused(0.01, decay), variables(), gradients), expected, rtol=1e-5, atol=1e-6)

    none = {name: Group() for name in SHAPES}
    theirs = keras.optimizers.Adam(0.01, global_clipnorm=0.5, epsilon=0.1, **optimizer_options())
    expected = apply(theirs, variables(), gradients)
    ours = fused(0.01, none, global_clipnorm=0.5, epsilon=0.1)  # epsilon: else Adam has no scale
    require_equal(apply(ours, variables(), gradients), expected, rtol=1e-5, atol=1e-6)


def test_a_variable_with_rate_0_is_not_updated():
    groups = {**GROUPS, "a": Group(rate=0.0, decay=0.5)}
    found = apply(fused(0.1, groups), variables(), slopes(3))
    np.testing.assert_array_equal(found["a"], start()["a"])
    assert (found["b"] != start()["b"]).all()


@pytest.mark.parametrize("traced", [False, True])
def test_frozen_variables_are_not_updated_and_others_keep_their_groups(traced):
    """The optimizer is built on all variables and applied to some, as with a frozen trunk."""
    all_of_them = variables()
    optimizer = fused(Falling())
    optimizer.build(list(all_of_them.values()))
    gradients = [{"b": of_step["b"], "c": of_step["c"]} for of_step in slopes(3)]
    learning = {name: all_of_them[name] for name in ("b", "c")}
    apply(optimizer, learning, gradients, traced)
    found = {name: v.numpy() for name, v in all_of_them.items()}
    require_equal(found, by_hand(gradients, GROUPS), rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(found["a"], start()["a"])


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_variable_without_gradient_is_not_decayed():
    gradients = [{**of_step, "c": None} for of_step in slopes(2)]
    found = apply(fused(0.1), variables(), gradients)
    np.testing.assert_array_equal(found["c"], start()["c"])
    require_equal(found, by_hand(gradients, GROUPS, lambda step: 0.1), rtol=2e-5, atol=2e-6)


def test_mixed_bfloat16_updates_weights_in_float32():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        inputs = keras.Input([4])
        model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    optimizer = FusedAdamW(1e-4, lambda v: Group(decay=0.1), **optimizer_options())
    optimizer.build(model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            outputs = model(np.ones([2, 4], np.float32))
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32))
        assert outputs.dtype == tf.bfloat16
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    step()
    for old, variable in zip(before, model.trainable_variables):
        assert variable.dtype == tf.float32
        # a step of 1e-4, which bfloat16 would lose beside weights near 1
        np.testing.assert_allclose(variable, old * (1 - 1e-5) - 1e-4, atol=2e-7)
    assert {tf.as_dtype(v.dtype) for v in optimizer.variables} <= {tf.float32, tf.int32, tf.int64}


def test_a_checkpoint_restores_moments_and_steps(tmp_path):
    gradients = slopes(6)
    undisturbed = apply(fused(Falling()), variables(), gradients)
    first, weights = fused(Falling()), variables()
    apply(first, weights, gradients[:3])
    path = tf.train.Checkpoint(optimizer=first, **weights).save(str(tmp_path / "c"))
    second, again = fused(Falling()), variables()
    second.build(list(again.values()))
    tf.train.Checkpoint(optimizer=second, **again).restore(path).assert_consumed()
    found = apply(second, again, gradients[3:])
    for name in SHAPES:
        np.testing.assert_array_equal(found[name], undisturbed[name])
