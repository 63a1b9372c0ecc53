"""A server in a thread of the test's process, on a copy of the exported model."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from attr_extractor.serving.server import ServeOptions, Server

NAMES = ["001_0.jpg", "002_0.jpg", "003_0.jpg", "004_0.jpg", "010_1.jpg"]
BROKEN = [b"", b"no image", b"\xff\xd8\xff truncated"]


def photos(shop) -> list[bytes]:
    """Some good photos of the shop."""
    return [(shop.path / "images" / name).read_bytes() for name in NAMES]


def expected(shop, files: list[bytes], signature: str = "serving_default") -> dict[str, np.ndarray]:
    """What TensorFlow itself answers, without the server."""
    model = tf.saved_model.load(str(shop.model / "1"))
    answers = model.signatures[signature](image_bytes=tf.constant(files))
    return {name: answer.numpy() for name, answer in answers.items()}


def add_version(shop, folder: Path, number: int) -> Path:
    """A copy of the exported version under another number, there at once."""
    temporary = folder / f".{number}"
    shutil.copytree(shop.model / "1", temporary)
    return temporary.rename(folder / str(number))


@contextmanager
def running(folder: Path, **options) -> Iterator[Server]:
    """A started server on free ports; stopped, and its loop ended, afterwards."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(120)

    async def make() -> Server:
        server = Server(ServeOptions(folder, port=0, grpc_port=0, poll_seconds=0.1, **options))
        await server.start()
        return server

    try:
        server = wait(make())
        try:
            yield server
        finally:
            wait(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
