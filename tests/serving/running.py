"""A server in a thread of the test's process, and the answers that it must give."""

from __future__ import annotations

import asyncio
import functools
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from attr_extractor.serving.server.server import ServeOptions, Server

NAMES = ["001_0.jpg", "002_0.jpg", "003_0.jpg", "004_0.jpg", "010_1.jpg"]
BROKEN = [b"", b"no image", b"\xff\xd8\xff truncated"]


def photos(shop) -> list[bytes]:
    """Return five readable photos of the shop."""
    return [(shop.path / "images" / name).read_bytes() for name in NAMES]


def expected(shop, files: list[bytes], signature: str = "serving_default") -> dict[str, np.ndarray]:
    """Return TensorFlow's own answers, computed without the server."""
    answers = _load(shop.model / "1").signatures[signature](image_bytes=tf.constant(files))
    return {name: answer.numpy() for name, answer in answers.items()}


_load = functools.cache(lambda path: tf.saved_model.load(str(path)))


def assert_answers(actual: Mapping, answers: Mapping[str, np.ndarray]) -> None:
    """Compare answers, with text as str or bytes, with TensorFlow's own answers."""
    assert set(actual) == set(answers)
    for name, values in answers.items():
        if values.dtype == object:
            text = np.array(actual[name]).astype(str)
            np.testing.assert_array_equal(text, values.astype(str), name)
        else:
            np.testing.assert_allclose(actual[name], values, atol=1e-5, err_msg=name)


def add_version(shop, folder: Path, number: int) -> Path:
    """Copy the exported version into `folder` under another number, atomically."""
    folder.mkdir(exist_ok=True)
    temporary = folder / f".{number}"
    shutil.copytree(shop.model / "1", temporary)
    return temporary.rename(folder / str(number))


@contextmanager
def running(folder: Path, **options) -> Iterator[Server]:
    """Start a server on free ports; stop it and its event loop afterwards."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(120)

    async def start() -> Server:
        server = Server(ServeOptions(folder, port=0, grpc_port=0, poll_seconds=0.1, **options))
        await server.start()
        return server

    try:
        server = wait(start())
        try:
            yield server
        finally:
            wait(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
