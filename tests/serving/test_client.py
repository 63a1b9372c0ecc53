"""Claims about the client: one answer over both ways in, and retries where they can help only."""

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
from attr_extractor.serving.status import Code
from tests.serving.running import BROKEN, add_version, expected, photos, running


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "shop"
    folder.mkdir()
    add_version(exported, folder, 1)
    with running(folder) as made:
        yield made


@pytest.fixture(params=["http", "grpc"])
def address(server, request):
    port = server.port if request.param == "http" else server.grpc_port
    return f"{request.param}://127.0.0.1:{port}"


def test_both_ways_in_give_tensorflows_answers_in_order(address, exported):
    files = [*photos(exported), *BROKEN] * 3
    answers = expected(exported, files)
    found = Client(address, "shop", batch_size=5, version=1).photos(files)
    assert set(found) == set(answers)
    for name, values in answers.items():
        if values.dtype == object:
            np.testing.assert_array_equal(found[name], np.vectorize(bytes.decode)(values), name)
        else:
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)


def test_arrays_are_inputs_too(address, exported):
    client, files = Client(address, "shop"), photos(exported)
    threshold = np.ones(len(files), np.float32)
    found = client.predict({"image_bytes": files, "threshold": threshold}, "with_threshold")
    assert found["category"].tolist() == [[""]] * len(files)
    pixels = np.zeros([3, 32, 32, 3], np.uint8)
    assert client.predict({"pixels": pixels}, "pixels")["error"].tolist() == [""] * 3


def test_threads_may_share_a_client(address, exported):
    client, files = Client(address, "shop", batch_size=2), photos(exported)
    one = client.photos(files)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: client.photos(files), range(16)):
            np.testing.assert_array_equal(found["category"], one["category"])


def test_what_the_server_refuses_is_bad_input(address, exported):
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
    """Answers with one status after the other; 0 hangs up."""
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
    """Answers with one status after the other."""
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


def test_rest_retries_what_passes_and_nothing_else():
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


def test_grpc_retries_what_passes_and_nothing_else():
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
