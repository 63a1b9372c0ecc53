"""Test versions: swapped under load without a failed request; broken ones change nothing."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import tensorflow as tf

from attr_extractor.errors import InputError
from attr_extractor.serving.client import Client
from tests.conftest import ROOT, require_bad_input, run_tool
from tests.serving.running import add_version, assert_answers, expected, photos, running


@pytest.fixture
def folder(exported, tmp_path):
    path = tmp_path / "shop"
    add_version(exported, path, 1)
    return path


def states(server) -> dict[int, str]:
    """Return the state of every version, read over REST."""
    response = httpx.get(f"http://127.0.0.1:{server.port}/v1/models/shop", timeout=60)
    found = response.json()["model_version_status"]
    return {int(each["version"]): each["state"] for each in found}


def wait_for(server, number: int, state: str) -> None:
    end = time.monotonic() + 300
    while states(server).get(number) != state:
        assert time.monotonic() < end, states(server)
        time.sleep(0.05)


@pytest.mark.slow
def test_versions_are_swapped_under_load_without_a_failed_request(folder, exported):
    files = photos(exported)
    answers = expected(exported, files)
    over = threading.Event()

    def ask(address: str) -> int:
        client, count = Client(address, "shop"), 0
        while not over.is_set():
            assert_answers(client.photos(files), answers)
            count += 1
        return count

    with running(folder) as server, ThreadPoolExecutor(4) as pool:
        addresses = [f"http://127.0.0.1:{server.port}", f"grpc://127.0.0.1:{server.grpc_port}"]
        asking = [pool.submit(ask, address) for address in addresses * 2]
        try:
            for number in (2, 10):
                add_version(exported, folder, number)
                wait_for(server, number, "AVAILABLE")
                wait_for(server, {2: 1, 10: 2}[number], "END")
        finally:
            over.set()
        assert all(each.result(60) > 0 for each in asking)
        assert states(server) == {10: "AVAILABLE", 2: "END", 1: "END"}


@pytest.mark.slow
def test_a_broken_version_changes_nothing_until_it_is_repaired(folder, exported):
    with running(folder) as server:
        client = Client(f"http://127.0.0.1:{server.port}", "shop")
        broken = folder / "2"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"half a file")
        wait_for(server, 2, "END")
        url = f"http://127.0.0.1:{server.port}/v1/models/shop/versions/2"
        status = httpx.get(url).json()["model_version_status"][0]["status"]
        assert status["error_code"] == "UNKNOWN" and status["error_message"]
        assert len(client.photos(photos(exported))["error"]) == 5
        shutil.copytree(exported.model / "1", broken, dirs_exist_ok=True)
        wait_for(server, 2, "AVAILABLE")


@pytest.mark.slow
def test_removing_the_newest_version_restores_the_previous_one(folder, exported):
    add_version(exported, folder, 2)
    with running(folder) as server:
        assert states(server) == {2: "AVAILABLE"}
        shutil.rmtree(folder / "2")
        wait_for(server, 1, "AVAILABLE")
        shutil.rmtree(folder / "1")
        time.sleep(0.5)
        answers = Client(f"http://127.0.0.1:{server.port}", "shop").photos(photos(exported))
        assert answers["error"].tolist() == [""] * 5


@pytest.mark.slow
def test_warm_up_requests_of_a_version_are_run(folder, exported):
    from tensorflow_serving.apis import prediction_log_pb2

    def write(signature: str) -> None:
        log = prediction_log_pb2.PredictionLog()
        request = log.predict_log.request
        request.model_spec.signature_name = signature
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(photos(exported)))
        extra = folder / "2" / "assets.extra"
        extra.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
            writer.write(log.SerializeToString())

    with running(folder) as server:
        shutil.copytree(exported.model / "1", folder / ".2")
        (folder / ".2").rename(folder / "2")
        wait_for(server, 2, "AVAILABLE")
    write("scores")
    with running(folder) as server:
        assert states(server) == {2: "AVAILABLE"}
    write("unknown")  # a version that refuses its own requests does not answer others
    with running(folder) as server:
        time.sleep(0.5)  # the folder is looked at a few times more, and the version not tried again
        assert states(server) == {2: "END", 1: "AVAILABLE"}
        metrics = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
        assert 'attr_extractor_model_loads_total{result="failed"} 1.0' in metrics


def start(folder, *flags: str) -> tuple[subprocess.Popen, str]:
    """Start serve.py in a process; return the process and its REST address."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools/serve.py"), f"--model={folder}", "--port=0", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    line = process.stdout.readline()
    assert line.startswith("REST: http://127.0.0.1:"), line
    return process, line.split()[1].split("/v1")[0]


def test_sigterm_answers_accepted_requests_and_exits_with_0(folder, exported):
    process, address = start(folder)
    files = photos(exported)
    answers = expected(exported, files)
    client = Client(address, "shop", batch_size=1, parallel=16)

    stopping = threading.Event()

    def ask(_) -> str:
        while not stopping.is_set():  # so that requests are in progress when the signal arrives
            try:
                assert_answers(client.photos(files), answers)
            except Exception as error:  # noqa: BLE001 - counted below
                return repr(error)
        return "right"

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, i) for i in range(8)]
        while "pending_bytes 0.0" in httpx.get(f"{address}/metrics", timeout=60).text:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        stopping.set()
        found = [each.result(120) for each in asked]
    # those of its 8 x 5 requests that it had not accepted were refused a connection, none cut off
    assert all(each == "right" or "Connection refused" in each for each in found), found
    assert process.wait(60) == 0
    assert process.stdout.read().split() == ["draining", "drained"]


def test_a_folder_without_a_servable_version_is_rejected(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, reason in (
        (tmp_path / "nowhere", "nowhere: the model's folder does not exist"),
        (folder / "1", "a single version; use the folder of versions"),
        (tmp_path / "empty", "no version could be loaded: there is no .* saved_model.pb"),
    ):
        with pytest.raises(InputError, match=reason), running(path):
            pass


def test_a_taken_port_is_reported_in_one_line(server, served_folder):
    taken = run_tool("serve", f"--model={served_folder}", f"--port={server.port}")
    require_bad_input(taken, "cannot listen on 127.0.0.1", "in use")


def resident_mib() -> float:
    """Return the resident memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
@pytest.mark.slow
def test_a_swap_returns_freed_memory_to_the_operating_system(folder, exported):
    with running(folder) as server:
        add_version(exported, folder, 2)
        wait_for(server, 1, "END")
    held = resident_mib()
    ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
    assert held - resident_mib() < 30  # 226 where the server does not trim
