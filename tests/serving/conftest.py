"""Fixtures shared by the tests of serving: a model folder with version 3, and a server of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def served_folder(exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder that tests do not change."""
    from tests.serving.running import add_version

    folder = tmp_path_factory.mktemp("models") / "shop"
    add_version(exported, folder, 3)
    return folder


@pytest.fixture(scope="session")
def server(served_folder) -> Iterator:
    """Start a server with small limits: 8 rows, 256 KiB, 0.05 megapixels."""
    from attr_extractor.serving.server.batching import Limits
    from tests.serving.running import running

    limits = Limits(batch_size=8, megapixels=0.05)
    with running(served_folder, limits=limits, max_body_bytes=2**18) as started:
        yield started
