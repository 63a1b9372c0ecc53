"""A review server in a thread of the test process, and steps of its reviewers."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from attr_extractor.enrichment.review.server import ReviewOptions, Server
from tests.enrichment.by_hand import write_cells
from tests.web.running import ask
from tests.web.running import running as running_server

HOLDERS = {name: f"{i:032x}" for i, name in enumerate(["Ada", "Ben", "Cleo"])}


def options(shop, folder: Path, rows: list[dict[str, Any]], **changes: Any) -> ReviewOptions:
    """Write these cells of the shop and return the options of a server for them."""
    cells = write_cells(folder / "cells.parquet", rows)
    values = {
        "cells": cells,
        "decisions": folder / "decisions.sqlite",
        "image_root": shop.path,
        "schema": shop.schema_file,
        "port": 0,
    }
    return ReviewOptions(**{**values, **changes})


def running(server_options: ReviewOptions) -> AbstractContextManager[Server]:
    """Start a review server; stop it at the end."""
    return running_server(lambda: Server(server_options))


def step(server: Server, name: str, who: str = "Ada", **content: Any) -> tuple[int, dict[str, Any]]:
    """Post a step of a reviewer; return status and content of the response."""
    body = {"reviewer": who, "holder": HOLDERS[who], "queue": server.queue_id, **content}
    status, response, _ = ask(f"{server.address}api/{name}", body)
    return status, json.loads(response)
