"""A client for models served by TF Serving or attr-extractor serve, over REST or gRPC.

Retries and backoff are urllib3's and gRPC's own. Only transient failures are retried (the queue is
full, the server is starting or stopping, the connection broke); requests are idempotent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import urllib3

from attr_extractor.errors import InputError, TemporaryError

_RETRIES = 4  # after the first try; gRPC allows no more
_FIRST_WAIT = 0.25  # seconds, doubled each time, with jitter
_TRANSIENT_HTTP = (429, 502, 503, 504)
_TRANSIENT_GRPC = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
_BROKEN_GRPC = ("INTERNAL", "UNKNOWN", "DATA_LOSS")  # HTTP's other 5xx
_LARGEST = 2**28  # bytes of a message, maximum
Answers = dict[str, np.ndarray]
Inputs = Mapping[str, Sequence]  # arrays are accepted too
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


def _to_json(values: Sequence) -> list:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return [
        {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for value in values
    ]


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
