"""Fuzz the server: bad requests are rejected with a reason, concurrent good ones answered right.

An unreadable photo returns an error in its own row; the request succeeds, as in TF Serving.
"""

from __future__ import annotations

import base64
import json
import struct
import threading
import zlib
from collections import Counter

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from attr_extractor.serving.client import Client
from attr_extractor.serving.server.batching import Limits
from tests.serving.running import assert_answers, expected, photos, running

KINDS = ("bytes", "json", "shape", "b64", "signature", "path", "rows", "bomb", "photo", "grpc")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def png(width: int, height: int) -> bytes:
    """Return a PNG whose header declares this size, almost without pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def is_good(request) -> bool:
    """Return whether random JSON may contain rows of text, which is a valid request."""
    return isinstance(request, dict) and bool({"inputs", "instances"} & set(request))


class Fuzz:
    """Send bad requests of each kind and check the responses."""

    def __init__(self, server, files: list[bytes]):
        self.files = files
        self.url = f"http://127.0.0.1:{server.port}"
        self.http = httpx.Client(timeout=60)
        channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        self.grpc = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.counts: Counter = Counter()

    def send(self, kind: str, data: st.DataObject) -> None:
        """Send one request."""
        getattr(self, f"_{kind}")(data)
        self.counts[kind] += 1

    def _send_invalid(
        self, body, path: str = "/v1/models/shop:predict", method: str = "POST"
    ) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self.http.request(method, self.url + path, content=content)
        assert 400 <= response.status_code < 500, (response.status_code, response.text)
        assert response.json()["error"]

    def _bytes(self, data) -> None:
        self._send_invalid(data.draw(st.binary(max_size=200)))

    def _json(self, data) -> None:
        body = data.draw(JSON.filter(lambda value: not is_good(value)))
        self._send_invalid(body)

    def _shape(self, data) -> None:
        key = data.draw(st.sampled_from(["inputs", "instances"]))
        values = JSON.filter(lambda v: not isinstance(v, str) and v != [])
        nested = st.lists(
            st.lists(values | st.text(max_size=3), min_size=1), min_size=1, max_size=3
        )
        self._send_invalid({key: data.draw(nested), "signature_name": "serving_default"})

    def _b64(self, data) -> None:
        text = data.draw(st.text(max_size=30).filter(lambda t: set(t) - set(LEGAL)))
        self._send_invalid({"instances": [{"image_bytes": {"b64": text}}]})

    def _signature(self, data) -> None:
        name = data.draw((st.text(min_size=1) | JSON).filter(lambda n: n not in (*SIGNATURES, "")))
        self._send_invalid({"instances": ["a"], "signature_name": name})

    def _path(self, data) -> None:
        part = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
        other = part.filter(lambda name: name.lower() not in ("shop", "v1"))
        path = data.draw(
            st.builds("/v1/models/{}:predict".format, other)
            | st.builds("/v1/models/shop/versions/{}:predict".format, st.integers(4, 10**30))
            | st.builds("/v1/models/shop/{}:predict".format, part)
            | st.builds("/{}".format, other)
        )
        self._send_invalid({"instances": ["a"]}, path, data.draw(st.sampled_from(["POST", "PUT"])))

    def _rows(self, data) -> None:
        count = data.draw(st.integers(33, 5000))
        self._send_invalid({"inputs": ["a"] * count})

    def _bomb(self, data) -> None:
        sides = st.integers(5001, 10**4) if data.draw(st.booleans()) else st.integers(10**6, 2**30)
        photo = png(data.draw(sides), data.draw(sides))
        body = {"instances": [{"b64": base64.b64encode(photo).decode()}]}
        response = self.http.post(f"{self.url}/v1/models/shop:predict", json=body)
        if response.status_code == 200:  # too large for the server to measure: the graph refuses it
            assert "more than 100,000,000 pixels" in response.json()["predictions"][0]["error"]
        else:
            assert response.status_code == 400 and "pixels" in response.json()["error"]

    def _photo(self, data) -> None:
        """Send a damaged photo beside a good one, which must be answered."""
        good = self.files[0]
        bad = data.draw(
            st.integers(0, len(good) // 2).map(lambda end: good[:end])
            | st.binary(max_size=60)
            | st.sampled_from([b"\xff\xd8\xff", b"GIF89a", b"BM", png(10, 10)])
        )
        body = {"inputs": [{"b64": base64.b64encode(each).decode()} for each in (bad, good)]}
        response = self.http.post(f"{self.url}/v1/models/shop:predict", json=body)
        assert response.status_code == 200, response.text
        bad_error, good_error = response.json()["outputs"]["error"]
        assert bad_error and not good_error

    def _grpc(self, data) -> None:
        proto = TensorProto(dtype=data.draw(st.integers(0, 25)))
        sizes = data.draw(st.lists(st.integers(-2, 2**40), max_size=4))
        for size in sizes:
            proto.tensor_shape.dim.add(size=size)
        proto.string_val.extend(data.draw(st.lists(st.binary(max_size=9), max_size=3)))
        proto.tensor_content = data.draw(st.binary(max_size=40))
        request = predict_pb2.PredictRequest()
        request.model_spec.name = data.draw(st.sampled_from(["shop", "shop", "other"]))
        request.model_spec.signature_name = data.draw(st.sampled_from([*SIGNATURES, "x", ""]))
        request.inputs[data.draw(st.sampled_from(["image_bytes", "pixels", "x"]))].CopyFrom(proto)
        try:
            answer = self.grpc.Predict(request, timeout=60)
        except grpc.RpcError as error:
            assert error.code().name in REFUSALS, (error.code(), error.details())
            assert error.details()
        else:  # rows of text that are no photos, by chance
            assert all(answer.outputs["error"].string_val)


LEGAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t\n\r\f\v"
SIGNATURES = ("serving_default", "with_threshold", "pixels", "scores")
REFUSALS = ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION")


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_bad_requests_are_rejected_while_good_ones_are_answered(exported, served_folder, count):
    files = photos(exported)
    answers = expected(exported, files)
    over, good = threading.Event(), Counter()

    def ask(address: str) -> None:
        client = Client(address, "shop")
        while not over.is_set():
            try:
                assert_answers(client.photos(files), answers)
                good["right"] += 1
            except Exception as error:  # noqa: BLE001 - counted: none may fail
                good[repr(error)] += 1
            over.wait(0.02)

    with running(served_folder, limits=Limits(batch_size=32), max_body_bytes=2**20) as server:
        fuzz = Fuzz(server, files)

        @settings(
            max_examples=count // len(KINDS),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def each_kind_once(data) -> None:
            for kind in KINDS:
                fuzz.send(kind, data)

        addresses = (f"http://127.0.0.1:{server.port}", f"grpc://127.0.0.1:{server.grpc_port}")
        asking = [threading.Thread(target=ask, args=[address]) for address in addresses]
        for thread in asking:
            thread.start()
        try:
            each_kind_once()
        finally:
            over.set()
            for thread in asking:
                thread.join()
        page = fuzz.http.get(f"{fuzz.url}/metrics").text
    assert sum(fuzz.counts.values()) >= count and min(fuzz.counts.values()) >= count // len(KINDS)
    assert set(good) == {"right"}
    assert "attr_extractor_pending_bytes 0.0" in page and "waiting_rows 0.0" in page
