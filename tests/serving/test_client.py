"""Test the client: same answers over REST and gRPC, retries of transient failures only."""

from __future__ import annotations

import json
import threading
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from attr_extractor.errors import InputError, TemporaryError
from attr_extractor.serving import client as client_module
from attr_extractor.serving.client import Client
from attr_extractor.serving.server.status import Code
from tests.serving.running import BROKEN, assert_answers, expected, photos

BAD_SECOND = "photo 2: not a JPEG, PNG, GIF or BMP image"


@pytest.fixture(params=["http", "grpc"])
def address(server, request):
    port = server.port if request.param == "http" else server.grpc_port
    return f"{request.param}://127.0.0.1:{port}"


def test_rest_and_grpc_return_tensorflows_answers_in_order(address, exported):
    files = [*photos(exported), *BROKEN] * 3
    answers = expected(exported, files)
    found = Client(address, "shop", batch_size=5, version=3).photos(files)
    assert_answers(found, answers)
    assert {array.dtype.kind for array in found.values()} == {"U", "f"}
    assert found["category_score"].dtype == np.float32


def test_inputs_may_be_arrays(address, exported):
    client, files = Client(address, "shop"), photos(exported)
    threshold = np.ones(len(files), np.float32)
    found = client.predict({"image_bytes": files, "threshold": threshold}, "with_threshold")
    assert found["category"].tolist() == [[""]] * len(files)
    pixels = np.zeros([3, 32, 32, 3], np.uint8)
    assert client.predict({"pixels": pixels}, "pixels")["error"].tolist() == [""] * 3


def test_a_client_is_thread_safe(address, exported):
    client, files = Client(address, "shop", batch_size=2), photos(exported)
    one = client.photos(files)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: client.photos(files), range(16)):
            np.testing.assert_array_equal(found["category"], one["category"])


def test_a_rejected_request_raises_input_error(address, exported):
    files = photos(exported)
    with pytest.raises(InputError, match="x.* not found"):
        Client(address, "shop").photos(files, "x")
    with pytest.raises(InputError, match="Servable not found for request: Latest"):
        Client(address, "other").photos(files)
    with pytest.raises(InputError, match="at least one row"):
        Client(address, "shop").photos([])
    with pytest.raises(InputError, match="not a model's address"):
        Client("127.0.0.1:8501", "shop")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(client_module, "_FIRST_WAIT", 0.01)


def http_server(statuses: list[int]) -> tuple[HTTPServer, list[int]]:
    """Start a server that answers with one status after the other; 0 disconnects."""
    asked: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            self.rfile.read(int(self.headers["Content-Length"]))
            status = statuses[len(asked)]
            asked.append(status)
            if status:
                body = json.dumps({"error": "why", "outputs": {"error": [""]}}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            else:
                self.connection.close()

        def log_message(self, *_arguments):
            """Quiet."""

    made = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made, asked


def grpc_server(codes: list[Code]) -> tuple[grpc.Server, int, list[Code]]:
    """Start a server that answers with one status after the other."""
    asked: list[Code] = []

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, _request, context):  # noqa: N802
            code = codes[len(asked)]
            asked.append(code)
            if code != Code.OK:
                context.abort(code, "why")
            response = predict_pb2.PredictResponse()
            response.outputs["error"].dtype = 7
            response.outputs["error"].string_val.append(b"")
            response.outputs["error"].tensor_shape.dim.add(size=1)
            return response

    made = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), made)
    port = made.add_insecure_port("127.0.0.1:0")
    made.start()
    return made, port, asked


def test_rest_retries_transient_failures_only():
    made, asked = http_server([429, 503, 0, 200, 400, 500, 404, *[503] * 5])
    client = Client(f"http://127.0.0.1:{made.server_port}", "shop")
    assert client.photos([b"a"])["error"].tolist() == [""]
    for status, kind in ((400, InputError), (500, RuntimeError), (404, InputError)):
        with pytest.raises(kind, match=f"{status}: why") as refused:
            client.photos([b"a"])
        assert type(refused.value) is kind
    with pytest.raises(TemporaryError, match="503: why"):
        client.photos([b"a"])
    assert asked == [429, 503, 0, 200, 400, 500, 404, *[503] * 5]
    made.shutdown()


def test_grpc_retries_transient_failures_only():
    codes = [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.OK, Code.INVALID_ARGUMENT]
    made, port, asked = grpc_server([*codes, *[Code.UNAVAILABLE] * 5])
    client = Client(f"grpc://127.0.0.1:{port}", "shop")
    assert client.photos([b"a" * 2**20])["error"].tolist() == [""]
    with pytest.raises(InputError, match="INVALID_ARGUMENT: why"):
        client.photos([b"a"])
    with pytest.raises(TemporaryError, match="UNAVAILABLE: why"):
        client.photos([b"a"])
    assert asked == [*codes, *[Code.UNAVAILABLE] * 5]
    made.stop(None)


def test_products_with_any_number_of_photos_are_answered_together(address, exported):
    client, files = Client(address, "shop", batch_size=2, parallel=4), photos(exported)
    products = [[files[0]], files[1:4], [], [files[4], b"no photo"], [files[0]] * 40]
    found = client.products(products)
    singles = expected(exported, files, "scores")["scores"]
    names = [name for name in found if name.endswith("_score")]
    assert found["error"].tolist() == [*[""] * 2, "no photo", BAD_SECOND, ""]
    exclusive = found["category_score"][[0, 3, 4], 0]
    np.testing.assert_allclose(exclusive, singles[[0, 4, 0], :2].max(axis=1), atol=1e-5)
    mean = singles[1:4].mean(axis=0)[:2]
    assert found["category_score"][1, 0] == pytest.approx(mean.max(), abs=1e-5)
    assert not any(found[name][2].any() for name in names)

    boxes = [[(0, 0, 32, 32)], [(0, 0, 0, 0)] * 3]
    boxed = client.products(products[:2], boxes)
    assert boxed["category_score"][0] != pytest.approx(found["category_score"][0], abs=1e-3)
    np.testing.assert_allclose(boxed["category_score"][1], found["category_score"][1], atol=1e-5)
    with pytest.raises(InputError, match="at most 64 photos"):
        client.products([[files[0]] * 65])
