"""PredictionService and ModelService on grpc.aio, with tensorflow-serving-api's stubs.

Request messages have a deadline: gRPC alone waits indefinitely for the rest of a message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from attr_extractor.serving.server import tensors
from attr_extractor.serving.server.batching import SMALL, Limits, PendingBytes, Workers
from attr_extractor.serving.server.loaded import DEFAULT
from attr_extractor.serving.server.status import Code, ServingError, invalid
from attr_extractor.serving.server.tensors import Arrays, Specs
from attr_extractor.serving.server.versions import Versions

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


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

    async def Predict(  # noqa: N802
        self, request: PredictRequest, context: grpc.aio.ServicerContext
    ) -> PredictResponse:
        """See TF Serving's prediction_service.proto."""
        return await self._answer(self._predict, request, context)

    async def GetModelMetadata(  # noqa: N802
        self, request: GetModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> GetModelMetadataResponse:
        """See TF Serving's prediction_service.proto."""
        return await self._answer(self._metadata, request, context)

    async def GetModelStatus(  # noqa: N802
        self, request: GetModelStatusRequest, context: grpc.aio.ServicerContext
    ) -> GetModelStatusResponse:
        """See TF Serving's model_service.proto."""
        return await self._answer(self._status, request, context)

    async def _unsupported(self, request: Message, context: grpc.aio.ServicerContext) -> Message:
        return await self._answer(_reject, request, context)

    Classify = Regress = MultiInference = HandleReloadConfigRequest = _unsupported

    async def _answer(
        self, respond: Callable[[Q], Awaitable[A]], request: Q, context: grpc.aio.ServicerContext
    ) -> A:
        """Respond, or abort with the status of the error; count the request."""
        start, code = time.perf_counter(), Code.UNKNOWN
        self.answering += 1
        try:
            response = await respond(request)
            code = Code.OK
            return response
        except Exception as raised:  # noqa: BLE001 - bugs are logged and reported as INTERNAL
            error = ServingError.of(raised)
            code = error.code
            return await context.abort(code, error.message)
        finally:
            self.answering -= 1
            self._workers.metrics.request("grpc", code.name, time.perf_counter() - start)

    async def _predict(self, request: PredictRequest) -> PredictResponse:
        name, number = _requested_model(request)
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
            inputs = await self._workers.parse(
                size <= SMALL, _inputs, request, signature.inputs, limits
            )
            rows = len(next(iter(inputs.values())))
            outputs = await version.queues[asked].submit(inputs, rows)
            response = PredictResponse()
            response.model_spec.name = name
            response.model_spec.signature_name = asked
            response.model_spec.version.value = version.number
        for output in set(request.output_filter) or outputs:
            response.outputs[output].CopyFrom(tensors.to_proto(outputs[output]))
        return response

    async def _metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        return self._versions.metadata(*_requested_model(request), request.metadata_field)

    async def _status(self, request: GetModelStatusRequest) -> GetModelStatusResponse:
        return self._versions.status(*_requested_model(request))


def _inputs(request: PredictRequest, specs: Specs, limits: Limits) -> Arrays:
    inputs = tensors.from_protos(request.inputs, specs, limits.batch_size)
    tensors.check_photos(inputs, limits.megapixels)
    return inputs


async def _reject(_request: Message) -> NoReturn:
    raise ServingError(Code.UNIMPLEMENTED, "this server supports Predict only")


def _requested_model(
    request: PredictRequest | GetModelMetadataRequest | GetModelStatusRequest,
) -> tuple[str, int | None]:
    """Return the requested name and version."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec: ModelSpec = request.model_spec
    if spec.version_label:
        raise invalid(f"Unrecognized servable version label: {spec.version_label}")
    return spec.name, spec.version.value if spec.HasField("version") else None


class MessageDeadline(grpc.aio.ServerInterceptor):
    """Abort a unary call with DEADLINE_EXCEEDED if its message has not arrived after `seconds`.

    On the wire a unary call equals a stream of one message. A stream's handler is called before the
    message has arrived, so it can limit the wait.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Return the method's handler; a unary one is replaced by a stream handler."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def answer(messages: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            try:
                message = await asyncio.wait_for(messages.__anext__(), self._seconds)
            except asyncio.TimeoutError:
                why = f"the message took more than {self._seconds:g} seconds"
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, why)
            except StopAsyncIteration:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
            return await handler.unary_unary(message, context)

        return grpc.stream_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )
