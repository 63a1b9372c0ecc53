"""The status of a model's versions and its signatures, as protos.

Shared by both APIs: gRPC sends the protos, REST prints them as JSON.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from attr_extractor.serving.status import Code, ServingError, invalid
from attr_extractor.serving.versions import Versions

_SIGNATURES = "signature_def"
_ALL_FIELDS = {  # one option, by its name in protobuf 4 and in newer releases
    name: True
    for name in ("including_default_value_fields", "always_print_fields_with_no_presence")
    if name in inspect.signature(json_format.MessageToJson).parameters
}


def status(
    versions: Versions, name: str, number: int | None
) -> get_model_status_pb2.GetModelStatusResponse:
    """Return the state of one version, or of all; raise ServingError if there is none."""
    known = versions.states if name == versions.name else {}
    if number is not None and number not in known:
        raise ServingError(Code.NOT_FOUND, f"Could not find version {number} of model {name}")
    if not known:
        raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for each in [number] if number is not None else sorted(known, reverse=True):
        line = response.model_version_status.add(version=each, state=known[each].state)
        line.status.error_message = known[each].error
        if known[each].error:
            line.status.error_code = Code.UNKNOWN.value[0]
    return response


def metadata(
    versions: Versions, name: str, number: int | None, fields: Iterable[str] = (_SIGNATURES,)
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Return the signatures of a version; raise ServingError for other fields."""
    fields = list(fields)
    if not fields:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != _SIGNATURES:
            raise invalid(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with versions.use(name, number) as version:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, signature in version.model.signature_def.items():
            signatures.signature_def[key].CopyFrom(signature)
        response.model_spec.name = name
        response.model_spec.version.value = version.number
    response.metadata[_SIGNATURES].Pack(signatures)
    return response


def status_json(response: get_model_status_pb2.GetModelStatusResponse) -> str:
    """Return the status as JSON in TF Serving's format."""
    return _json(response)


def metadata_json(response: get_model_metadata_pb2.GetModelMetadataResponse) -> str:
    """Return the metadata as JSON in TF Serving's format: signatures without the wrapper's type."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[_SIGNATURES].Unpack(signatures)
    return (
        f'{{\n"model_spec":{_json(response.model_spec, True)},\n'
        f'"metadata": {{"signature_def": {_json(signatures, True)}}}\n}}\n'
    )


def _json(message: Message, proto_names: bool = False) -> str:
    return json_format.MessageToJson(
        message, indent=1, preserving_proto_field_name=proto_names, **_ALL_FIELDS
    )
