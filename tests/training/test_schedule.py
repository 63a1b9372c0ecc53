"""Learning rates and phases, worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from attr_extractor.config import Config, TrainConfig
from attr_extractor.model import network
from attr_extractor.training import schedule


def small() -> SimpleNamespace:
    """Return what `make_optimizer` needs of a network: a trunk of two layers, and a head."""
    inputs = keras.Input([4])
    x = keras.layers.Dense(3, name="dense", bias_initializer="ones")(inputs)
    x = keras.layers.BatchNormalization(name="bn", beta_initializer="ones")(x)
    trunk = keras.Model(inputs, x)
    logits = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    return SimpleNamespace(trunk=trunk.layers, logits=logits, trained=logits, evidence=None)


def rate(step: int, **changed) -> float:
    content = {"learning_rate": 1e-3, "epochs": 10, "schedule": "exponential", "warmup_epochs": 0}
    optimizer = schedule.make_optimizer(TrainConfig(**{**content, **changed}), 100, small())
    return float(optimizer._learning_rate(step))


def test_the_paper_decays_by_a_factor_of_0_75_at_each_epoch():
    for step, epochs in [(0, 0), (99, 0), (100, 1), (250, 2), (999, 9)]:
        assert rate(step) == pytest.approx(1e-3 * 0.75**epochs, rel=1e-5)


def test_warmup_rises_linearly_to_the_peak_and_cosine_falls_to_0():
    cosine = {"schedule": "cosine", "warmup_epochs": 1.0}
    assert rate(0, **cosine) == pytest.approx(1e-5, rel=1e-5)
    assert rate(49, **cosine) == pytest.approx(5e-4, rel=1e-5)
    assert rate(100, **cosine) == pytest.approx(1e-3, rel=1e-5)
    assert rate(550, **cosine) == pytest.approx(5e-4, rel=1e-4)
    assert rate(775, **cosine) == pytest.approx(0.5e-3 * (1 + math.cos(0.75 * math.pi)), rel=1e-4)
    assert rate(1000, **cosine) == pytest.approx(0.0, abs=1e-9)


def test_a_constant_rate_does_not_change():
    assert rate(0, schedule="constant") == rate(999, schedule="constant") == pytest.approx(1e-3)


def variables(model) -> dict:
    """Return the variables by layer and name."""
    return {
        f"{layer.name}/{v.name.split('/')[-1].split(':')[0]}": v
        for layer in model.layers
        for v in layer.trainable_variables
    }


def factors_of_one_step(config: TrainConfig, built) -> dict[str, float]:
    """Return the factor by which a step without gradients scales each variable."""
    optimizer = schedule.make_optimizer(config, 10, built)
    before = {name: v.numpy() for name, v in variables(built.logits).items()}
    optimizer.apply_gradients(
        [(np.zeros(v.shape, np.float32), v) for v in built.logits.trainable_variables]
    )
    factors = {}
    for name, v in variables(built.logits).items():
        moved = before[name] != 0
        parts = np.unique((v.numpy()[moved] / before[name][moved]).astype(float).round(3))
        assert len(parts) <= 1
        factors[name] = float(parts[0]) if len(parts) else None  # None: it began at 0
    return factors


PLAIN = {"schedule": "constant", "learning_rate": 0.1, "warmup_epochs": 0, "trunk_rate": 1}
ADAM = {**PLAIN, "optimizer": "adam", "weight_decay": 0}
ADAMW = {**PLAIN, "optimizer": "adamw", "weight_decay": 0.5}


def test_weight_decay_applies_to_kernels_but_not_to_biases_and_norms():
    assert factors_of_one_step(TrainConfig(**ADAMW), small()) == {
        "dense/kernel": 0.95,
        "dense/bias": 1.0,
        "bn/gamma": 1.0,
        "bn/beta": 1.0,
        "head/kernel": 0.95,
        "head/bias": None,
    }


def test_the_trunk_has_its_own_rate_and_decay():
    config = TrainConfig(**{**ADAMW, "trunk_rate": 0.1})
    factors = factors_of_one_step(config, small())
    assert (factors["dense/kernel"], factors["head/kernel"]) == (0.995, 0.95)

    built = small()
    optimizer = schedule.make_optimizer(TrainConfig(**{**ADAM, "trunk_rate": 0.1}), 10, built)
    before = {name: v.numpy() for name, v in variables(built.logits).items()}
    optimizer.apply_gradients(
        [(np.ones(v.shape, np.float32), v) for v in built.logits.trainable_variables]
    )
    for name, v in variables(built.logits).items():
        step = 0.1 if name.startswith("head") else 0.01  # Adam's first step is its rate
        np.testing.assert_allclose(before[name] - v, step, rtol=1e-3, atol=1e-6)


def test_rates_decrease_geometrically_towards_the_trunks_first_layer():
    inputs = keras.Input([4])
    x = inputs
    for i in range(3):
        x = keras.layers.Dense(4, name=f"trunk{i}")(x)
    trunk = keras.Model(inputs, x)
    logits = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    config = TrainConfig(**{**ADAM, "trunk_rate": 0.5, "first_layer_rate": 0.01})
    built = SimpleNamespace(trunk=trunk.layers, logits=logits, trained=logits, evidence=None)
    optimizer = schedule.make_optimizer(config, 10, built)
    before = {name: v.numpy() for name, v in variables(logits).items()}
    optimizer.apply_gradients(
        [(np.ones(v.shape, np.float32), v) for v in logits.trainable_variables]
    )
    expected = {"trunk0": 0.0005, "trunk1": 0.005, "trunk2": 0.05, "head": 0.1}
    for name, v in variables(logits).items():  # Adam's first step is its rate
        moved = before[name] - v.numpy()
        np.testing.assert_allclose(moved, expected[name.split("/")[0]], rtol=1e-3)


def test_matrices_of_a_network_decay_and_vectors_do_not(schema):
    """Vectors include the attention block's scales and the second hidden bias."""
    model = {
        "trunk": "small_cnn",
        "weights": "none",
        "attention": {
            "num_heads": 2,
            "key_dim": 4,
            "feed_forward_dim": 8,
        },
        "hidden": [8, 8],
        "fuse_stages": 4,
    }
    content = {"name": "t", "data": {"image_size": 32}, "model": model}
    built = network.build(schema, Config.model_validate(content))
    rng = np.random.default_rng(0)
    built.logits.set_weights([rng.uniform(0.5, 1.0, w.shape) for w in built.logits.get_weights()])
    for name, factor in factors_of_one_step(TrainConfig(**ADAMW), built).items():
        is_matrix = "kernel" in name.split("/")[1]
        assert factor == (0.95 if is_matrix else 1.0), name


def test_a_frozen_trunk_is_not_updated():
    built = small()
    config = TrainConfig(**{**ADAMW, "trunk_rate": 0.5})
    optimizer = schedule.make_optimizer(config, 10, built)
    before = {name: v.numpy() for name, v in variables(built.logits).items()}
    for layer in built.trunk:
        layer.trainable = False
    learning = built.logits.trainable_variables
    assert len(learning) == 2
    optimizer.apply_gradients([(np.zeros(v.shape, np.float32), v) for v in learning])
    for layer in built.trunk:
        layer.trainable = True
    for name, v in variables(built.logits).items():
        factor = 0.95 if name == "head/kernel" else 1.0
        np.testing.assert_allclose(v, factor * before[name], rtol=1e-6)


def phases(epochs: int, final: int = 64, **train) -> list[tuple]:
    content = {"name": "t", "data": {"image_size": final}, "train": {"epochs": epochs, **train}}
    return [tuple(p) for p in schedule.phases(Config.model_validate(content), 10)]


def test_a_run_without_sizes_and_freezing_is_one_phase():
    assert phases(3) == [(0, 30, 64, False, True)]


def test_photo_sizes_grow_at_their_epochs():
    assert phases(9, image_sizes={0: 32, 4: 48, 7: 64}) == [
        (0, 40, 32, False, False),
        (40, 70, 48, False, False),
        (70, 90, 64, False, True),
    ]


def test_freezing_ends_at_its_epoch_within_a_size_or_with_it():
    assert phases(5, freeze_trunk_epochs=2) == [(0, 20, 64, True, False), (20, 50, 64, False, True)]
    assert phases(6, image_sizes={0: 32, 3: 64}, freeze_trunk_epochs=1) == [
        (0, 10, 32, True, False),
        (10, 30, 32, False, False),
        (30, 60, 64, False, True),
    ]
    assert phases(6, image_sizes={0: 32, 3: 64}, freeze_trunk_epochs=3) == [
        (0, 30, 32, True, False),
        (30, 60, 64, False, True),
    ]
    assert phases(6, image_sizes={0: 32, 3: 64}, freeze_trunk_epochs=5) == [
        (0, 30, 32, True, False),
        (30, 50, 64, True, False),
        (50, 60, 64, False, True),
    ]


@pytest.mark.parametrize("frozen", [3, 4, 100])
def test_a_trunk_may_stay_frozen_to_the_end(frozen):
    assert phases(3, freeze_trunk_epochs=frozen) == [(0, 30, 64, True, True)]
