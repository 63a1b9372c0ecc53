"""One version of a model in memory: a SavedModel in a Session, as in TF Serving.

tf.saved_model.load is not used: its objects and functions stay in TensorFlow's global context, for
every version that was ever loaded. Closing a Session frees all of its memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import prediction_log_pb2

from attr_extractor import files
from attr_extractor.serving import deployment, tensors
from attr_extractor.serving.status import invalid
from attr_extractor.serving.tensors import Arrays, Spec

DEFAULT = "serving_default"
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")


@dataclass(frozen=True)
class Signature:
    """A function of the model; thread-safe."""

    name: str
    inputs: dict[str, Spec]
    outputs: dict[str, Spec]
    call: Callable[..., Sequence[np.ndarray]]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs, sorted by name.

        Raises:
          tf.errors.OpError: if the graph rejects the inputs.
          ServingError: if the graph rejects them with a message that is not valid UTF-8.
        """
        try:
            found = self.call(*(inputs[name] for name in self.inputs))
        except UnicodeDecodeError as error:  # TensorFlow fails to decode its message
            raise invalid(f"the graph of {self.name} rejects the inputs") from error
        return dict(zip(self.outputs, found))


class LoadedModel:
    """The signatures of a version folder; its methods block: call them off the event loop."""

    def __init__(self, path: Path):
        """Load the version.

        Raises:
          OSError, RuntimeError, ValueError, tf.errors.OpError: if the SavedModel is incomplete, or
            its signatures have no open first dimension.
        """
        self.path = path
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=_threads(path))
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], str(path)
                )
            self.signature_def: dict[str, Any] = dict(meta.signature_def)
            self.signatures = {
                name: self._signature(name, signature)
                for name, signature in self.signature_def.items()
                if signature.inputs  # the initialiser is listed too and has no inputs
            }
        except BaseException:
            self._session.close()
            raise

    def _signature(self, name: str, signature: Any) -> Signature:
        inputs = {key: Spec.of(key, signature.inputs[key]) for key in sorted(signature.inputs)}
        outputs = {key: Spec.of(key, signature.outputs[key]) for key in sorted(signature.outputs)}
        call = self._session.make_callable(
            [spec.graph_name for spec in outputs.values()],
            [spec.graph_name for spec in inputs.values()],
        )
        return Signature(name, inputs, outputs, call)

    def warm_up(self, batch_size: int) -> None:
        """Run the version's own warm-up requests, or made-up ones of 1 and of batch_size rows.

        Raises:
          ServingError, tf.errors.OpError: if one of the version's own requests fails.
        """
        requests = self.path / WARMUP
        if requests.is_file():
            for record in tf.data.TFRecordDataset(str(requests)).as_numpy_iterator():
                request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
                signature = self.signatures[request.model_spec.signature_name or DEFAULT]
                signature.run(tensors.from_protos(request.inputs, signature.inputs, sys.maxsize))
            return
        for signature in self.signatures.values():
            for rows in (1, batch_size):
                made_up = {
                    spec.name: np.full(
                        [rows, *(1 if size == -1 else size for size in spec.row_shape)],
                        b"" if spec.dtype == tf.string else 0,
                        spec.dtype.as_numpy_dtype,
                    )
                    for spec in signature.inputs.values()
                }
                try:
                    signature.run(made_up)
                except tf.errors.InvalidArgumentError as error:
                    # a signature may reject an empty string, for example as an Example
                    logging.info("%s is not warmed up: %s", signature.name, error.message)

    def close(self) -> None:
        """Free the memory; no signature may be running."""
        self._session.close()


def _threads(path: Path) -> tf.compat.v1.ConfigProto:
    """Return the threads per operation for the parts; a process' first version decides."""
    description = path / "assets" / "model.json"  # models from elsewhere have none
    facts = files.read_json(description, "its description") if description.is_file() else {}
    parts = facts.get("parts") if isinstance(facts, dict) else None
    threads = deployment.operation_threads(parts if isinstance(parts, int) else 1)
    return tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads)
