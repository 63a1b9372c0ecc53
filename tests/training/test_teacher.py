"""Distillation: one step by hand, and runs that cannot teach."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import network
from attr_extractor.schema import Schema
from attr_extractor.training import teacher
from attr_extractor.training.run_dir import RunDir
from attr_extractor.training.step import TrainingModel


def config_with(trained, *overrides: str) -> Config:
    plain = ["augmentation.enabled=false", "augmentation.mixup=0", "augmentation.cutmix=0"]
    return Config.read(trained.config, [f"train.teacher.run={trained.run}", *plain, *overrides])


def bce(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-z))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def test_the_loss_is_that_of_the_labels_and_of_the_teachers_scores(trained):
    config = config_with(trained, "train.teacher.weight=0.3", "train.teacher.temperature=3")
    schema = RunDir.read(trained.run).schema
    side = config.data.image_size
    generator = np.random.default_rng(0)
    photos = generator.integers(0, 256, [4, side, side, 3], dtype=np.uint8)
    labels = np.ones([4, schema.num_values], np.int8)
    labels[:2] = -1  # the teacher labels these photos alone
    keras.utils.set_random_seed(0)
    student = network.build(schema, config)
    teach = teacher.load(config, schema)
    model = TrainingModel(student, schema, config, teach=teach)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    twin = network.build(schema, config).logits
    twin.set_weights(student.logits.get_weights())
    z = twin(photos.astype(np.float32), training=True).numpy().astype(np.float64)
    of_teacher = RunDir.read(trained.run).load_network().logits(photos, training=False).numpy()

    scores = 1 / (1 + np.exp(-of_teacher / 3))
    of_labels = bce(z[2:], labels[2:]).sum() / 4
    of_scores = 9 * bce(z / 3, scores).sum() / 4
    logs = model.train_step({"pixels": tf.constant(photos), "labels": tf.constant(labels)})
    expected = 0.7 * of_labels + 0.3 * of_scores
    assert float(logs["loss"]) == pytest.approx(expected, rel=1e-3)


def test_the_teacher_sees_the_photos_in_its_own_size(trained):
    config = config_with(trained)
    side = config.data.image_size
    small = config.model_copy(update={"data": config.data.model_copy(update={"image_size": 32})})
    schema = RunDir.read(trained.run).schema
    taught = teacher.load(small, schema)(tf.zeros([2, 2 * side, 2 * side, 3]))
    same = teacher.load(config, schema)(tf.zeros([2, side, side, 3]))
    np.testing.assert_allclose(taught, same, rtol=1e-5, atol=1e-6)


def test_runs_that_cannot_teach_are_refused(trained, tmp_path):
    schema = RunDir.read(trained.run).schema
    content = schema.to_yaml().replace("values:", "values:\n  - one-more", 1)
    with pytest.raises(InputError, match="schema"):
        teacher.load(config_with(trained), Schema.parse(content, "other"))
    with pytest.raises(InputError, match="normalize_by: batch"):
        config_with(trained, "loss.normalize_by=observed")
    with pytest.raises(InputError, match="a teacher needs photos"):
        config_with(trained, "train.features=positions")
    softmax = config_with(trained, "model.exclusive_output=softmax")
    with pytest.raises(InputError, match="exclusive_output: sigmoid, not softmax"):
        teacher.require_usable(softmax, schema)
    absent = config_with(trained, f"train.teacher.run={tmp_path / 'absent'}")
    with pytest.raises(InputError, match="absent"):
        teacher.load(absent, schema)
