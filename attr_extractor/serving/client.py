"""A client for models served by TF Serving or attr-extractor serve, over REST or gRPC.

Retries and backoff are urllib3's and gRPC's own. Only transient failures are retried (the queue is
full, the server is starting or stopping, the connection broke); requests are idempotent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import urllib3

from attr_extractor.errors import InputError, TemporaryError

_RETRIES = 4  # after the first try; gRPC allows no more
_FIRST_WAIT = 0.25  # seconds, doubled each time, with jitter
_TRANSIENT_HTTP = (429, 502, 503, 504)
_TRANSIENT_GRPC = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
_BROKEN_GRPC = ("INTERNAL", "UNKNOWN", "DATA_LOSS")  # HTTP's other 5xx
_WHOLE = (0, 0, 0, 0)  # the box of a whole photo
_LARGEST = 2**28  # bytes of a message, maximum
Answers = dict[str, np.ndarray]
Inputs = Mapping[str, Sequence]  # arrays are accepted too
Box = Sequence[int]  # left, top, right, bottom, in pixels
Ask = Callable[[Inputs, str], Answers]


class Client:
    """A client of one model at one address; thread-safe.

    Rows are sent in requests of at most `batch_size`, several concurrently. Results keep the order:
    text as str, numbers as arrays, rows first.
    """

    def __init__(
        self,
        address: str,
        model: str,
        version: int | None = None,
        batch_size: int = 32,
        parallel: int = 2,
        timeout: float = 60.0,
    ):
        """
        Args:
          address: `http://host:8501` for REST, `grpc://host:8500` for gRPC.
          model: the model's name; `version`: this version instead of the newest.
          parallel: maximum concurrent requests of one call.
          timeout: seconds for each attempt (REST) or for all attempts (gRPC).

        Raises:
          InputError: if the address has another form.
        """
        kind, _, place = address.rstrip("/").partition("://")
        if kind not in ("http", "https", "grpc") or not place:
            raise InputError(
                f"{address}: not a model's address; use http://HOST:PORT or grpc://HOST:PORT"
            )
        make = _grpc if kind == "grpc" else _rest
        target = place if kind == "grpc" else f"{kind}://{place}"
        self._ask = make(target, model, version, timeout, parallel)
        self._batch_size = batch_size
        self._threads = ThreadPoolExecutor(parallel, "client")

    def photos(self, photos: Sequence[bytes], signature: str = "serving_default") -> Answers:
        """Return the answers for encoded photos; see `predict`."""
        return self.predict({"image_bytes": photos}, signature)

    def products(
        self,
        photos: Sequence[Sequence[bytes]],
        boxes: Sequence[Sequence[Box]] | None = None,
        known: Sequence[Sequence[str]] | None = None,
        texts: Sequence[str] | None = None,
    ) -> Answers:
        """Return the answers for products of several photos each; see `predict`.

        Args:
          boxes: of each photo left, top, right and bottom edge of the product, zeros for none.
          known: the known cells of each product, as `attribute=value`; not with boxes.
          texts: the text of each product, such as its title; not with boxes.

        Raises:
          ValueError: if boxes are given together with known cells or texts, or there are not as
            many known or texts as products.
        """
        most = max((len(of_product) for of_product in photos), default=0)
        padded = [[*of_product, *[b""] * (most - len(of_product))] for of_product in photos]
        if known is not None or texts is not None:
            if boxes is not None:
                raise ValueError("boxes cannot be combined with known cells or texts")
            for each in (known, texts):
                if each is not None and len(each) != len(photos):
                    raise ValueError(f"{len(each)} entries for {len(photos)} products")
            cells = known or [[]] * len(padded)
            widest = max((len(each) for each in cells), default=0) or 1
            given: dict[str, Any] = {
                "image_bytes": padded,
                "known": [[*each, *[""] * (widest - len(each))] for each in cells],
                "text": texts or [""] * len(padded),
            }
            return self.predict(given, "with_context")
        if boxes is None:
            return self.predict({"image_bytes": padded}, "product")
        box = [[*each, *[_WHOLE] * (most - len(each))] for each in boxes]
        inputs: dict[str, Any] = {"image_bytes": padded, "box": np.array(box, np.int32)}
        return self.predict(inputs, "product_with_box")

    def predict(self, inputs: Inputs, signature: str = "serving_default") -> Answers:
        """Return the outputs of a signature; it must have at least two, as this package's do.

        Raises:
          InputError: if there are no rows, or the server rejects the request.
          TemporaryError: if the server is unreachable or too busy after all retries.
          RuntimeError: if the server failed.
        """
        rows = len(next(iter(inputs.values())))
        if not rows:
            raise InputError("a request requires at least one row")
        requests = [
            {name: values[start : start + self._batch_size] for name, values in inputs.items()}
            for start in range(0, rows, self._batch_size)
        ]
        answers = list(self._threads.map(lambda request: self._ask(request, signature), requests))
        return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}


def _error_type(transient: bool, broken: bool) -> type[Exception]:
    return TemporaryError if transient else RuntimeError if broken else InputError


def _rest(address: str, model: str, version: int | None, timeout: float, parallel: int) -> Ask:
    retries = urllib3.Retry(
        _RETRIES,
        allowed_methods=None,  # retry POST too
        status_forcelist=_TRANSIENT_HTTP,
        backoff_factor=_FIRST_WAIT,
        backoff_jitter=_FIRST_WAIT,
        raise_on_status=False,
    )
    pool = urllib3.PoolManager(maxsize=parallel, retries=retries, timeout=timeout)
    of_version = "" if version is None else f"/versions/{version}"
    url = f"{address}/v1/models/{model}{of_version}:predict"

    def ask(inputs: Inputs, signature: str) -> Answers:
        columns = {name: _to_json(values) for name, values in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns})
        try:
            response = pool.request(
                "POST", url, body=body.encode(), headers={"Content-Type": "application/json"}
            )
        except urllib3.exceptions.HTTPError as error:
            raise TemporaryError(f"{url}: no answer: {error}") from error
        if response.status != 200:
            error_type = _error_type(response.status in _TRANSIENT_HTTP, response.status >= 500)
            raise error_type(f"{url}: {response.status}: {_reason(response.data)}")
        outputs = json.loads(response.data)["outputs"]
        return {name: _from_json(values) for name, values in outputs.items()}

    return ask


def _to_json(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return values.tolist() if values.dtype != object else _to_json(values.tolist())
    if isinstance(values, bytes):
        return {"b64": base64.b64encode(values).decode()}
    return [_to_json(value) for value in values] if isinstance(values, (list, tuple)) else values


def _from_json(values: list) -> np.ndarray:
    array = np.array(values)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _reason(body: bytes) -> str:
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):  # from a proxy, not from the server
        return body[:200].decode(errors="replace")


def _grpc(address: str, model: str, version: int | None, timeout: float, _parallel: int) -> Ask:
    import tensorflow as tf  # REST does not need it
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    policy = {
        "maxAttempts": _RETRIES + 1,
        "initialBackoff": f"{_FIRST_WAIT}s",
        "maxBackoff": "10s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": list(_TRANSIENT_GRPC),
    }
    options = [
        (
            "grpc.service_config",
            json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]}),
        ),
        ("grpc.per_rpc_retry_buffer_size", _LARGEST),  # larger requests are not retried
        ("grpc.max_receive_message_length", _LARGEST),
        ("grpc.max_send_message_length", _LARGEST),
    ]
    service = prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(address, options)
    )

    def ask(inputs: Inputs, signature: str) -> Answers:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        try:
            response = service.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            code = error.code().name
            transient = code in (*_TRANSIENT_GRPC, "DEADLINE_EXCEEDED")
            error_type = _error_type(transient, code in _BROKEN_GRPC)
            raise error_type(f"{address}: {code}: {error.details()}") from error
        return {name: _from_proto(tf.make_ndarray(p)) for name, p in response.outputs.items()}

    return ask


def _from_proto(array: np.ndarray) -> np.ndarray:
    if array.dtype != object:
        return array
    return np.array([text.decode() for text in array.ravel()]).reshape(array.shape)
