"""Distillation: a trained run teaches a smaller network on the same augmented photos.

Hinton et al. 2015 for sigmoid outputs: both networks' logits are divided by the temperature, the
teacher's scores are soft labels of every value, known or missing, and the loss is multiplied by the
squared temperature so that its gradients keep their size:

    L = (1 - weight) * eq. 1(labels) + weight * temperature^2 * eq. 1(teacher's scores)
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError, require_file
from attr_extractor.schema import Schema, require_same
from attr_extractor.training.run_dir import RunDir

Teach = Callable[[tf.Tensor], tf.Tensor]  # photos uint8 [B, H, W, 3] -> logits float32 [B, V]


def require_usable(config: Config, schema: Schema) -> None:
    """Raise InputError if there is a teacher and `load` would refuse it."""
    if config.train.teacher.run:
        require_file(_read(config, schema).path / "weights.npz", "the teacher's weights")


def load(config: Config, schema: Schema) -> Teach | None:
    """Return the teacher's logits for augmented photos of any size; None without a teacher.

    Raises:
      InputError: if the teacher is not a trained run of the same schema.
    """
    if not config.train.teacher.run:
        return None
    run = _read(config, schema)
    side = run.config.data.image_size
    logits = run.load_network(precision=config.train.precision).logits
    logits.trainable = False

    def teach(photos: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(photos, [side, side], antialias=True)
        pixels = tf.saturate_cast(tf.round(resized), tf.uint8)
        return tf.cast(logits(pixels, training=False), tf.float32)

    return teach


def _read(config: Config, schema: Schema) -> RunDir:
    run = RunDir.read(config.train.teacher.run)
    require_same(run.schema.fingerprint, schema, config.train.teacher.run)
    of_teacher, of_run = run.config, config
    for key, other, own in (
        ("data.square", of_teacher.data.square, of_run.data.square),
        ("model.exclusive_output", *(c.model.exclusive_output for c in (of_teacher, of_run))),
    ):
        if other != own:
            raise InputError(
                f"train.teacher.run: {run.path} was trained with {key}: {other}, not {own}: both "
                "networks must see the same photos and give the same kind of scores"
            )
    return run
