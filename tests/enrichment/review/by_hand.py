"""The page's server in a thread of the test's process."""

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

from attr_extractor.enrichment.review.server import ReviewOptions, Server
from tests.enrichment.by_hand import write_cells

S = TypeVar("S")
HOLDERS = {name: f"{i:032x}" for i, name in enumerate(["Ada", "Ben", "Cleo"])}


def options(shop, folder: Path, rows: list[dict[str, Any]], **changes: Any) -> ReviewOptions:
    """What a page about these cells of the shop is served with."""
    made = {"cells": folder / "cells.parquet", "decisions": folder / "decisions.sqlite"}
    write_cells(made["cells"], rows)
    made.update(image_root=shop.path, schema=shop.schema_file, port=0)
    return ReviewOptions(**{**made, **changes})


def running(of: ReviewOptions) -> AbstractContextManager[Server]:
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
