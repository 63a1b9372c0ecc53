"""Claims about `training/schedule.py`: learning rates worked out on paper."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from attr_extractor.config import Training
from attr_extractor.training import schedule


def rate(step: int, **changed) -> float:
    content = {"learning_rate": 1e-3, "epochs": 10, **changed}
    return float(schedule.make_optimizer(Training(**content), 100)._learning_rate(step))


def test_the_paper_decays_by_a_factor_of_0_75_at_each_epoch():
    for step, epochs in [(0, 0), (99, 0), (100, 1), (250, 2), (999, 9)]:
        assert rate(step) == pytest.approx(1e-3 * 0.75**epochs, rel=1e-5)


def test_warm_up_rises_linearly_to_the_peak_and_cosine_falls_to_zero():
    cosine = {"schedule": "cosine", "warmup_epochs": 1.0}
    assert rate(0, **cosine) == pytest.approx(1e-5, rel=1e-5)
    assert rate(49, **cosine) == pytest.approx(5e-4, rel=1e-5)
    assert rate(100, **cosine) == pytest.approx(1e-3, rel=1e-5)
    assert rate(550, **cosine) == pytest.approx(5e-4, rel=1e-4)
    assert rate(775, **cosine) == pytest.approx(0.5e-3 * (1 + math.cos(0.75 * math.pi)), rel=1e-4)
    assert rate(1000, **cosine) == pytest.approx(0.0, abs=1e-9)


def test_constant_stays():
    assert rate(0, schedule="constant") == rate(999, schedule="constant") == pytest.approx(1e-3)


def test_weight_decay_shrinks_kernels_and_leaves_biases_and_norms_alone():
    config = Training(optimizer="adamw", weight_decay=0.5, schedule="constant", learning_rate=0.1)
    inputs = keras.Input([4])
    x = keras.layers.Dense(3, name="dense", bias_initializer="ones")(inputs)
    x = keras.layers.BatchNormalization(name="bn", beta_initializer="ones")(x)
    model = keras.Model(inputs, x)
    optimizer = schedule.make_optimizer(config, 10)
    optimizer.build(model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    optimizer.apply_gradients(
        [(np.zeros(v.shape, np.float32), v) for v in model.trainable_variables]
    )
    factors = {
        v.name.split("/")[-1].split(":")[0]: np.unique(
            (v.numpy() / b).astype(float).round(4)
        ).tolist()
        for v, b in zip(model.trainable_variables, before)
    }
    assert factors == {"kernel": [0.95], "bias": [1.0], "gamma": [1.0], "beta": [1.0]}
