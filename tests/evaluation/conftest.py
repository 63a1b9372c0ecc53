"""Shared by the tests of evaluation: made-up samples."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.by_hand import MadeUp


@pytest.fixture(scope="session")
def made_up(schema) -> MadeUp:
    """200 samples of 150 products, with logits that agree with their labels more often than not."""
    generator = np.random.default_rng(0)
    count = 200
    labels = np.zeros([count, schema.num_values], np.int8)
    for attribute, where in zip(schema.attributes, schema.slices.values()):
        size = len(attribute.values)
        labels[np.arange(count), where.start + generator.integers(0, size, count)] = 1
        labels[generator.random(count) < 0.2, where] = 0  # does not apply
        labels[generator.random(count) < 0.3, where] = -1  # missing
    logits = generator.normal(size=labels.shape) + 2.0 * (labels == 1) - 0.5
    products = [f"p{i % 150}" for i in range(count)]
    return logits.astype(np.float32), labels, products


@pytest.fixture(scope="session")
def partly_missing(made_up, schema) -> MadeUp:
    """The same, and of the attribute of several values some labels are missing one by one."""
    logits, labels, products = made_up
    labels = labels.copy()
    color = labels[:, schema.slices["color"]]
    drawn = np.random.default_rng(1).random(color.shape)
    color[(color == 0) & (drawn < 0.1)] = 1  # several values
    color[(color == 0) & (drawn > 0.6)] = -1
    return logits, labels, products
