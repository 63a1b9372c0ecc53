"""All random changes of a photo together: repeatable by seed, or off."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from PIL import Image

from attr_extractor.config import AugmentationConfig
from attr_extractor.model import augmentation


def photo(seed: int = 0) -> np.ndarray:
    """Return a smooth random photo, uint8 [40, 40, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, [6, 6, 3], dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((40, 40), Image.Resampling.BICUBIC))


def test_augmentation_depends_on_the_seed():
    pixels = tf.constant(np.stack([photo(i) for i in range(4)]))
    config = AugmentationConfig(brightness=0.2, contrast=0.2, saturation=0.2)
    first, again, other = (
        augmentation.augment(pixels, config, tf.constant(seed, tf.int64)).numpy()
        for seed in ([1, 5], [1, 5], [1, 6])
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 1.0
    assert np.abs(first[0] - first[1]).mean() > 1.0  # photos of a batch differ too


def test_disabled_augmentation_only_casts():
    pixels = tf.constant(photo()[np.newaxis])
    found = augmentation.augment(pixels, AugmentationConfig(enabled=False), tf.constant([0, 0]))
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found[0], photo())
