"""PredictionService and ModelService on grpc.aio, with tensorflow-serving-api's stubs."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from attr_extractor.serving import model_info, photo_sizes, tensors
from attr_extractor.serving.admission import PendingBytes
from attr_extractor.serving.batching import SMALL, Limits, Workers
from attr_extractor.serving.loaded import DEFAULT
from attr_extractor.serving.status import Code, ServingError, invalid
from attr_extractor.serving.tensors import Arrays, Spec
from attr_extractor.serving.versions import Versions


class Services(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Both services for one model's versions; unsupported methods return UNIMPLEMENTED."""

    def __init__(self, versions: Versions, workers: Workers, pending: PendingBytes):
        self._versions = versions
        self._workers = workers
        self._pending = pending
        self.answering = 0  # requests in progress

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register both services."""
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, server)

    async def Predict(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        """See TF Serving's prediction_service.proto."""
        return await self._answer(self._predict, request, context)

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """See TF Serving's prediction_service.proto."""
        return await self._answer(self._metadata, request, context)

    async def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """See TF Serving's model_service.proto."""
        return await self._answer(self._status, request, context)

    async def _not_offered(self, request: Any, context: Any) -> Any:
        return await self._answer(_refuse, request, context)

    Classify = Regress = MultiInference = HandleReloadConfigRequest = _not_offered

    async def _answer(
        self, make: Callable[[Any], Awaitable[Any]], request: Any, context: Any
    ) -> Any:
        start, code = time.perf_counter(), Code.UNKNOWN
        self.answering += 1
        try:
            response = await make(request)
            code = Code.OK
            return response
        except Exception as raised:  # noqa: BLE001 - bugs are logged and reported as INTERNAL
            error = ServingError.of(raised)
            code = error.code
            return await context.abort(code, error.message)
        finally:
            self.answering -= 1
            self._workers.metrics.request("grpc", code.name, time.perf_counter() - start)

    async def _predict(self, request: Any) -> Any:
        name, number = _model(request)
        size = request.ByteSize()
        with self._versions.use(name, number) as version, self._pending.hold() as held:
            await held.grow(size)
            asked = request.model_spec.signature_name or DEFAULT
            if asked not in version.queues:
                raise ServingError(
                    Code.FAILED_PRECONDITION, f'Serving signature key "{asked}" not found.'
                )
            signature = version.signature(asked)
            for output in request.output_filter:
                if output not in signature.outputs:
                    raise invalid(f"output tensor alias not found in signature: {output}")
            limits = self._workers.limits
            inputs = await self._workers.read(
                size <= SMALL, _inputs, request, signature.inputs, limits
            )
            rows = len(next(iter(inputs.values())))
            outputs = await version.queues[asked].submit(inputs, rows)
            response = predict_pb2.PredictResponse()
            response.model_spec.name = name
            response.model_spec.signature_name = asked
            response.model_spec.version.value = version.number
        for output in set(request.output_filter) or outputs:
            response.outputs[output].CopyFrom(tensors.to_proto(outputs[output]))
        return response

    async def _metadata(self, request: Any) -> Any:
        return model_info.metadata(self._versions, *_model(request), request.metadata_field)

    async def _status(self, request: Any) -> Any:
        return model_info.status(self._versions, *_model(request))


def _inputs(request: Any, specs: Mapping[str, Spec], limits: Limits) -> Arrays:
    inputs = tensors.from_protos(request.inputs, specs, limits.batch_size)
    photo_sizes.check(inputs, limits.megapixels)
    return inputs


async def _refuse(_request: Any) -> NoReturn:
    raise ServingError(Code.UNIMPLEMENTED, "this server supports Predict only")


def _model(request: Any) -> tuple[str, int | None]:
    """Return the requested name and version."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    if spec.version_label:
        raise invalid(f"Unrecognized servable version label: {spec.version_label}")
    return spec.name, spec.version.value if spec.HasField("version") else None
