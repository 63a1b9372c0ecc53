"""Test the REST API with httpx: TF Serving's paths, formats and status codes."""

from __future__ import annotations

import base64
import gzip
import io
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from attr_extractor.records import example
from tests.serving.running import BROKEN, assert_answers, expected, photos


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
        yield client


def b64(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode()}


def rows(*files: bytes) -> dict:
    return {"instances": [{"image_bytes": b64(file)} for file in files]}


def row_of(answers: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    return {name: np.asarray(values[i], values.dtype) for name, values in answers.items()}


@pytest.mark.parametrize("path", ["/v1/models/shop:predict", "/v1/models/shop/versions/3:predict"])
def test_rows_contain_tensorflows_answers_and_errors_of_broken_photos(http, exported, path):
    files = [*photos(exported), *BROKEN]
    answers = expected(exported, files)
    response = http.post(path, json=rows(*files))
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    predictions = response.json()["predictions"]
    assert len(predictions) == len(files)
    for i, row in enumerate(predictions):
        assert_answers(row, row_of(answers, i))
        assert bool(row["error"]) == (i >= len(files) - len(BROKEN))


def test_a_single_input_needs_no_name(http, exported):
    file = photos(exported)[0]
    plain = http.post("/v1/models/shop:predict", json={"instances": [b64(file)]})
    assert plain.json() == http.post("/v1/models/shop:predict", json=rows(file)).json()


def test_columns_and_rows_contain_the_same_answers(http, exported):
    files = photos(exported)
    by_row = http.post("/v1/models/shop:predict", json=rows(*files)).json()["predictions"]
    for inputs in ([b64(f) for f in files], {"image_bytes": [b64(f) for f in files]}):
        columns = http.post("/v1/models/shop:predict", json={"inputs": inputs}).json()["outputs"]
        assert {name: [row[name] for row in by_row] for name in by_row[0]} == columns


def test_signatures_are_selected_by_name(http, exported):
    files = photos(exported)
    request = {**rows(*files), "signature_name": "scores"}
    found = http.post("/v1/models/shop:predict", json=request).json()["predictions"]
    answers = expected(exported, files, "scores")
    np.testing.assert_allclose([row["scores"] for row in found], answers["scores"], atol=1e-5)
    image = [{"image_bytes": b64(f), "threshold": 1} for f in files]
    request = {"instances": image, "signature_name": "with_threshold"}
    found = http.post("/v1/models/shop:predict", json=request).json()["predictions"]
    assert all(row["category"] == [""] for row in found)
    pixels = np.zeros([2, 32, 32, 3], int).tolist()
    request = {"signature_name": "pixels", "inputs": pixels}
    assert len(http.post("/v1/models/shop:predict", json=request).json()["outputs"]["error"]) == 2


def test_a_gzip_body_is_decompressed(http, exported):
    body = gzip.compress(json.dumps(rows(photos(exported)[0])).encode())
    headers = {"Content-Encoding": "gzip"}
    assert http.post("/v1/models/shop:predict", content=body, headers=headers).status_code == 200


def test_status_and_metadata_have_tf_servings_format(http, exported):
    state = {"version": "3", "state": "AVAILABLE"}
    state["status"] = {"error_code": "OK", "error_message": ""}
    for path in ("/v1/models/shop", "/v1/models/shop/versions/3"):
        assert http.get(path).json() == {"model_version_status": [state]}
    found = http.get("/v1/models/shop/metadata").json()
    assert found["model_spec"] == {"name": "shop", "signature_name": "", "version": "3"}
    signature = found["metadata"]["signature_def"]["signature_def"]["with_threshold"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["threshold"]["dtype"] == "DT_FLOAT"
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert signature["inputs"]["threshold"]["tensor_shape"] == shape


def wide_png() -> bytes:
    out = io.BytesIO()
    Image.new("L", (300, 200)).save(out, "PNG")
    return out.getvalue()


ONE = {"instances": [{"image_bytes": {"b64": ""}}]}
INVALID = [
    (ONE, "/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
    (ONE, "/v1/models/shop/versions/9:predict", 404, "Specific(shop, 9)"),
    (ONE, "/v1/models/shop/versions/99999999999999999999:predict", 400, "to numeric"),
    (ONE, "/v1/models/shop/labels/best:predict", 400, "Unrecognized servable version label: best"),
    (ONE, "/v1/models/shop:classify", 400, ":classify"),
    (ONE, "/v1/models/shop:guess", 400, "Malformed request: POST /v1/models/shop:guess"),
    (ONE, "/elsewhere", 404, "Not Found"),
    (b"{", None, 400, "Invalid JSON"),
    (b"", None, 400, "Invalid JSON"),
    (b"\xff\xfe", None, 400, "Invalid JSON"),
    (b"[" * 100_000, None, 400, "recursion limit exceeded"),
    ([1], None, 400, "the body: Input should be an object"),
    ({}, None, 400, "either 'inputs' or 'instances' is expected"),
    ({"inputs": [], "instances": [1]}, None, 400, "either 'inputs' or 'instances' is expected"),
    ({"instances": {}}, None, 400, "instances: Input should be a valid array"),
    ({"instances": []}, None, 400, "instances: List should have at least 1 item"),
    ({"inputs": []}, None, 400, "no rows"),
    ({"inputs": {"b64": ""}}, None, 400, "has the shape []; [B] is expected"),
    ({**ONE, "signature_name": 3}, None, 400, "signature_name: Input should be a valid string"),
    ({**ONE, "signature_name": "x"}, None, 400, 'name: "x" not found in signature def'),
    ({"instances": [{"image": {"b64": ""}}]}, None, 400, "an object of image_bytes is expected"),
    ({"inputs": {"image": ["a"]}}, None, 400, "inputs: image_bytes is missing"),
    ({"instances": [{"b64": "a"}]}, None, 400, "is not valid base64"),
    ({"instances": [{"b64": "\x1f"}]}, None, 400, "is not valid base64"),  # blank for Python alone
    ({"instances": [{"b64": "YQ\u00a0=="}]}, None, 400, "is not valid base64"),
    ({"instances": [{"b64": "é"}]}, None, 400, "is not valid base64"),
    ({"instances": [{"image_bytes": {"b64": 3}}]}, None, 400, 'is not of the form {"b64": '),
    ({"instances": ["\ud800"]}, None, 400, "Invalid JSON"),
    ({"instances": [3]}, None, 400, "3 is not of the type string"),
    ({"instances": [["a"], ["b", "c"]]}, None, 400, "lists differ in size"),
    ({"instances": ["a", {"image_bytes": "b"}]}, None, 400, "instances.0: 'a': an object of"),
    ({"instances": ["a"] * 9}, None, 400, "9 rows; at most 8"),
    ({"instances": [b64(wide_png())]}, None, 400, "photo 0 is 300 x 200 pixels"),
    (
        {"instances": [b64(example.of_photo(wide_png()))], "signature_name": "tf_example"},
        *(None, 400, "photo 0 is 300 x 200 pixels"),
    ),
    (
        {"instances": [b64(b"no Example")], "signature_name": "tf_example"},
        *(None, 400, "Could not parse example"),
    ),
    ({"instances": ["a"], "signature_name": "with_threshold"}, None, 400, "multiple inputs"),
    (
        {"inputs": {"image_bytes": ["a"], "threshold": [1, 2]}, "signature_name": "with_threshold"},
        *(None, 400, "differ in their number of rows"),
    ),
    (
        {"inputs": {"image_bytes": ["a"], "threshold": [1e39]}, "signature_name": "with_threshold"},
        *(None, 400, "without loss of precision"),
    ),
    (
        {"inputs": {"image_bytes": ["a"], "threshold": [True]}, "signature_name": "with_threshold"},
        *(None, 400, "True is not of the type float32"),
    ),
    ({"inputs": [[[[1, 2, 3]]]], "signature_name": "pixels"}, None, 400, "[B, 32, 32, 3] is exp"),
    ({"inputs": [256], "signature_name": "pixels"}, None, 400, "cannot convert 256 to uint8"),
    ({"inputs": [2**70], "signature_name": "pixels"}, None, 400, "out of range for uint8"),
    ({"inputs": ["x" * 300_000]}, None, 413, "more than 262,144 bytes"),
]


@pytest.mark.parametrize(("body", "path", "status", "words"), INVALID)
def test_invalid_requests_are_rejected_with_a_reason(http, body, path, status, words):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = http.post(path or "/v1/models/shop:predict", content=content)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert words in response.json()["error"]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_body_of_undeclared_length_has_the_same_limit(http, compressed):
    content = b'{"inputs": ["' + b"x" * 2**22 + b'"]}'
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    content = gzip.compress(content) if compressed else content
    sent = content if compressed else iter([content[:1000], content[1000:]])
    response = http.post("/v1/models/shop:predict", content=sent, headers=headers)
    assert response.status_code == 413, response.text
    assert "more than 262,144 bytes" in response.json()["error"]


def test_health_and_metrics_are_available(http, exported):
    http.post("/v1/models/shop:predict", json=rows(*photos(exported)))
    assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200
    page = http.get("/metrics").text
    assert 'attr_extractor_requests_total{api="rest",code="OK"}' in page
    assert 'attr_extractor_requests_total{api="rest",code="INVALID_ARGUMENT"}' in page
    assert "attr_extractor_model_version 3.0" in page
    assert "attr_extractor_pending_bytes 0.0" in page


def test_concurrent_requests_get_their_own_answers_and_share_batches(http, exported):
    files = photos(exported)
    answers = expected(exported, files)

    def ask(i: int) -> None:
        response = http.post("/v1/models/shop:predict", json=rows(files[i % len(files)]))
        assert_answers(response.json()["predictions"][0], row_of(answers, i % len(files)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(64)))
    page = http.get("/metrics").text
    line = 'attr_extractor_batch_rows_bucket{le="1.0",signature="serving_default"} '
    total = 'attr_extractor_batch_rows_count{signature="serving_default"} '
    alone, all_batches = (float(page.split(key)[1].split()[0]) for key in (line, total))
    assert alone < all_batches  # some shared a run of the graph
