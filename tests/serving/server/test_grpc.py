"""Test the gRPC API with tensorflow-serving-api's own stubs."""

from __future__ import annotations

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.running import BROKEN, assert_answers, expected, photos


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as made:
        yield made


@pytest.fixture(scope="module")
def service(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(signature: str = "", **inputs) -> predict_pb2.PredictRequest:
    made = predict_pb2.PredictRequest()
    made.model_spec.name = "shop"
    made.model_spec.signature_name = signature
    for name, value in inputs.items():
        proto = value if isinstance(value, TensorProto) else tf.make_tensor_proto(value)
        made.inputs[name].CopyFrom(proto)
    return made


def test_answers_equal_tensorflows(service, exported):
    files = [*photos(exported), *BROKEN]
    response = service.Predict(request(image_bytes=files), timeout=60)
    assert (response.model_spec.name, response.model_spec.version.value) == ("shop", 3)
    assert response.model_spec.signature_name == "serving_default"
    answers = expected(exported, files)
    outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
    assert_answers(outputs, answers)
    for name, proto in response.outputs.items():  # in typed fields, as TF Serving sends them
        assert len(proto.string_val) + len(proto.float_val) == answers[name].size


def test_numbers_may_be_packed_listed_or_a_single_repeated_value(service, exported):
    files = photos(exported)[:4]
    packed = tf.make_tensor_proto(np.full([4], 0.99, np.float32))
    listed = TensorProto(dtype=1, float_val=[0.99] * 4)
    listed.tensor_shape.dim.add(size=4)
    once = TensorProto(dtype=1, float_val=[0.99])
    once.tensor_shape.dim.add(size=4)
    found = [
        service.Predict(request("with_threshold", image_bytes=files, threshold=each)).outputs
        for each in (packed, listed, once)
    ]
    assert [dict(each) for each in found[1:]] == [dict(found[0])] * 2
    pixels = np.zeros([2, 32, 32, 3], np.uint8)
    assert len(service.Predict(request("pixels", pixels=pixels)).outputs["error"].string_val) == 2


def test_output_filter_selects_the_outputs(service, exported):
    asked = request(image_bytes=photos(exported))
    asked.output_filter.extend(["category", "error"])
    assert set(service.Predict(asked).outputs) == {"category", "error"}


def test_metadata_and_status_equal_those_of_rest(server, channel, service):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "shop"
    response = service.GetModelMetadata(asked)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    http = f"http://127.0.0.1:{server.port}/v1/models/shop"
    of_rest = httpx.get(f"{http}/metadata").json()["metadata"]["signature_def"]
    same = json_format.ParseDict(of_rest, get_model_metadata_pb2.SignatureDefMap())
    assert same == signatures and "serving_default" in signatures.signature_def

    models = model_service_pb2_grpc.ModelServiceStub(channel)
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "shop"
    found = models.GetModelStatus(status)
    assert [(s.version, s.state) for s in found.model_version_status] == [(3, 30)]
    of_rest = json_format.Parse(httpx.get(http).text, get_model_status_pb2.GetModelStatusResponse())
    assert of_rest == found


def changed(change) -> predict_pb2.PredictRequest:
    made = request(image_bytes=[b"a"])
    change(made)
    return made


def huge() -> TensorProto:
    made = TensorProto(dtype=7, string_val=[b"a"])
    made.tensor_shape.dim.add(size=10**12)
    return made


INVALID = [
    (changed(lambda r: setattr(r.model_spec, "name", "other")), "NOT_FOUND", "Latest(other)"),
    (changed(lambda r: setattr(r.model_spec.version, "value", 9)), "NOT_FOUND", "(shop, 9)"),
    (changed(lambda r: setattr(r.model_spec, "version_label", "x")), "INVALID_ARGUMENT", "label"),
    (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    (request("x", image_bytes=[b"a"]), "FAILED_PRECONDITION", 'key "x" not found'),
    (request(), "INVALID_ARGUMENT", "Missing but required: {image_bytes}"),
    (request(image=[b"a"]), "INVALID_ARGUMENT", "Sent extra: {image}"),
    (changed(lambda r: r.output_filter.append("x")), "INVALID_ARGUMENT", "alias not found"),
    (request(image_bytes=b"a"), "INVALID_ARGUMENT", "has the shape []"),
    (request(image_bytes=[1.0]), "INVALID_ARGUMENT", "not of the type string"),
    (request(image_bytes=[b"a"] * 9), "INVALID_ARGUMENT", "9 rows; at most 8"),
    (request(image_bytes=np.zeros([0], object)), "INVALID_ARGUMENT", "no rows"),
    (request(image_bytes=huge()), "INVALID_ARGUMENT", "1000000000000 rows"),
    (request("pixels", pixels=np.zeros([1, 8, 8, 3], "u1")), "INVALID_ARGUMENT", "[B, 32, 32, 3]"),
    (request(image_bytes=[b"a" * 2**19]), "RESOURCE_EXHAUSTED", "larger than max"),
]


@pytest.mark.parametrize(("asked", "code", "words"), INVALID)
def test_invalid_requests_are_rejected_with_a_reason(service, asked, code, words):
    with pytest.raises(grpc.RpcError) as refused:
        service.Predict(asked, timeout=60)
    assert refused.value.code().name == code
    assert words in refused.value.details()


def test_an_unsupported_method_returns_unimplemented(service):
    with pytest.raises(grpc.RpcError) as refused:
        service.Classify(classification_pb2.ClassificationRequest(), timeout=60)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
