"""Fixture of the loss tests: a schema of three attributes with weights."""

from __future__ import annotations

import pytest

from attr_extractor.schema import Schema


@pytest.fixture(scope="module")
def weighted() -> Schema:
    return Schema.parse(
        """
        name: t
        category: kind
        attributes:
          - {name: kind, values: [a, b, c]}
          - {name: color, values: [red, blue], exclusive: false, weight: 2.5}
          - {name: neck, values: [v, round, square, high], weight: 0.5}
        """,
        "test",
    )
