"""Cells files written by hand, and the page's server in a thread of the test's process."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from attr_extractor.enrichment import cells
from attr_extractor.review.server import Options, Server

S = TypeVar("S")
HOLDERS = {name: f"{i:032x}" for i, name in enumerate(["Ada", "Ben", "Cleo"])}


def cell(row: int = 1, attribute: str = "neck_type", **changes: Any) -> dict[str, Any]:
    """A contradicted cell of the shop's product p000, p001 ..: v-neck there, round neck here."""
    made = {
        "row": row,
        "product_id": f"p{row - 1:03d}",
        "seller": "",
        "category": "shirt",
        "attribute": attribute,
        "given": "v-neck",
        "given_score": 0.1,
        "answer": "round neck",
        "proposed": ["round neck", "no neck", "v-neck"],
        "proposed_scores": [0.9, 0.2, 0.1],
        "verdict": cells.CONTRADICTED,
        "image": f"images/{row - 1:03d}_0.jpg",
        "error": "",
    }
    return {**made, **changes}


def color(row: int = 1, **changes: Any) -> dict[str, Any]:
    """A contradicted cell of the attribute that may have several values."""
    made = {"given": "red", "answer": "blue|green", "proposed": ["blue", "green", "red"]}
    return cell(row, "color", **{**made, **changes})


def write_cells(path: Path, rows: list[dict[str, Any]], row_group: int = 1000) -> Path:
    """A cells file of these rows."""
    pq.write_table(pa.Table.from_pylist(rows, cells.SCHEMA), path, row_group_size=row_group)
    return path


def options(shop, folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Options:
    """What a page about these cells of the shop is served with."""
    made = {"cells": folder / "cells.parquet", "decisions": folder / "decisions.sqlite"}
    write_cells(made["cells"], rows)
    made.update(image_root=shop.path, schema=shop.schema_file, port=0)
    return Options(**{**made, **changes})


def running(of: Options) -> AbstractContextManager[Server]:
    """The started page; stopped afterwards."""
    return serving(lambda: Server(of))


@contextmanager
def serving(make: Callable[[], S]) -> Iterator[S]:
    """A started server of any page; stopped, and its loop ended, afterwards."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    try:
        server = make()
        wait(server.start())
        try:
            yield server
        finally:
            wait(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def ask(
    address: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an answer; a POST of JSON where there is a body."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data, {**sent, **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def step(server: Server, name: str, who: str = "Ada", **content: Any) -> tuple[int, dict[str, Any]]:
    """Status and content of the answer to a step of a reviewer."""
    body = {"reviewer": who, "holder": HOLDERS[who], "queue": server.queue_id, **content}
    status, answer, _ = ask(f"{server.address}api/{name}", body)
    return status, json.loads(answer)
