"""MixUp and CutMix, and the loss of mixed photos, worked out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from attr_extractor.config import AugmentationConfig, Config, LossConfig
from attr_extractor.model import network
from attr_extractor.model.augmentation import mixing
from attr_extractor.model.loss import MaskedLoss
from attr_extractor.training import schedule
from attr_extractor.training.step import TrainingModel

SIZE = 24


def photos_of(count: int) -> np.ndarray:
    """Return photos of one colour each, so a pixel identifies its photo."""
    return np.repeat(np.arange(count, dtype=np.float32), SIZE * SIZE * 3).reshape(
        [count, SIZE, SIZE, 3]
    )


def mixed(count: int, seed: int = 0, **shares):
    photos, own = mixing.mix(
        photos_of(count),
        AugmentationConfig(**{"mixup": 0, "cutmix": 0, **shares}),
        tf.constant([seed, 1]),
    )
    return photos.numpy(), own.numpy()


def test_cutmix_pastes_a_rectangle_of_the_partner_and_returns_its_share():
    photos, own = mixed(64, cutmix=1.0)
    for i, photo in enumerate(photos):
        others = photo[..., 0] == 63 - i
        assert ((photo[..., 0] == i) | others).all()
        assert own[i] == pytest.approx(1 - others.mean(), abs=1e-6)
        rows, columns = others.any(axis=1), others.any(axis=0)
        np.testing.assert_array_equal(others, np.outer(rows, columns))  # a rectangle
        for side in (rows, columns):  # in one piece
            assert (np.diff(side.astype(int)) != 0).sum() <= 2
    assert 0.4 < own.mean() < 0.8 and own.min() < 0.3 and own.max() > 0.9


def test_mixup_blends_each_photo_with_its_partner_by_its_share():
    photos, own = mixed(64, mixup=1.0)
    i = np.arange(64)
    np.testing.assert_allclose(photos[:, 0, 0, 0], own * i + (1 - own) * (63 - i), atol=1e-4)
    assert np.ptp(photos, axis=(1, 2, 3)).max() == 0
    assert own.min() < 0.1 and own.max() > 0.9


def test_photos_are_mixed_at_the_configured_rates_depending_on_the_seed():
    counts = {"neither": 0, "blended": 0, "cut": 0}
    for seed in range(20):
        photos, own = mixed(64, seed, mixup=0.25, cutmix=0.5)
        flat = np.ptp(photos, axis=(1, 2, 3)) == 0
        whole = flat & (own == 1)
        counts["neither"] += whole.sum()
        counts["blended"] += (flat & (own < 1) & (own > 0)).sum()
        counts["cut"] += (~flat).sum()
    total = 20 * 64
    assert counts["blended"] / total == pytest.approx(0.25, abs=0.05)
    # a rectangle may be too small to cover a pixel's centre, or large enough to cover all
    assert counts["cut"] / total == pytest.approx(0.5, abs=0.07)
    np.testing.assert_array_equal(mixed(8, 3, cutmix=1.0)[0], mixed(8, 3, cutmix=1.0)[0])
    assert (mixed(8, 3, cutmix=1.0)[1] != mixed(8, 4, cutmix=1.0)[1]).any()


def test_rates_of_mixing_above_1_are_rejected():
    with pytest.raises(ValidationError, match="at most 1 together"):
        AugmentationConfig(mixup=0.6, cutmix=0.5)


def test_the_loss_of_mixed_photos_weights_both_labels_by_their_shares(weighted):
    """Computed term by term; a label that is missing for one photo counts for the other only."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=3, size=[6, weighted.num_values]).astype(np.float32)
    labels = generator.integers(0, 2, logits.shape).astype(np.int8)
    for where in weighted.slices.values():
        labels[generator.random(6) < 0.4, where] = -1
    own = generator.random(6).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = np.zeros(len(weighted.names))
    for i in range(6):
        for side, share in ((labels[i], own[i]), (labels[5 - i], 1 - own[i])):
            for t, where in enumerate(weighted.slices.values()):
                for c in range(where.start, where.stop):
                    if side[c] >= 0:
                        expected[t] -= share * np.log(p[i, c] if side[c] else 1 - p[i, c])

    equation = MaskedLoss(weighted, LossConfig())
    found = equation.sums(logits, labels, own) + equation.sums(
        logits, mixing.partners(labels), 1 - own
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_training_step_weights_mixed_photos_by_their_shares(schema, monkeypatch, kind):
    """The expected loss is computed in NumPy from the photos and shares that the step drew."""
    model = {
        "trunk": "small_cnn",
        "weights": "none",
        "fuse_stages": 1,
        "attention": {"enabled": False},
        "dropout": 0,
        "hidden": [8, 8],
    }
    content = {"name": "t", "data": {"image_size": 32}, "model": model}
    content["augmentation"] = {"enabled": False, "mixup": 0, "cutmix": 0, kind: 1.0}
    config = Config.model_validate(content)
    built = network.build(schema, config)
    step = TrainingModel(built, schema, config)
    step.compile(optimizer=schedule.make_optimizer(config.train, 10, built), jit_compile=False)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, [8, 32, 32, 3], dtype=np.uint8)
    labels = generator.integers(-1, 2, [8, schema.num_values]).astype(np.int8)
    before = built.logits.get_weights()
    drawn, mix = [], mixing.mix
    monkeypatch.setattr(mixing, "mix", lambda *given: drawn.append(mix(*given)) or drawn[-1])
    result = step.train_step({"pixels": tf.constant(pixels), "labels": tf.constant(labels)})

    photos, own = (each.numpy() for each in drawn[0])
    assert (photos != pixels).any() and own.min() < 1
    built.logits.set_weights(before)
    photos = np.rint(photos).astype(np.uint8)  # what the network reads; Keras would truncate
    p = tf.sigmoid(built.logits(photos, training=True)).numpy().astype(np.float64)
    expected = 0.0
    for side, share in ((labels, own), (labels[::-1], 1 - own)):
        terms = np.where(side == 1, np.log(p), np.log(1 - p)) * (side >= 0)
        expected -= (share[:, None] * terms).sum() / 8
    assert float(result["loss"]) == pytest.approx(expected, rel=1e-4)
