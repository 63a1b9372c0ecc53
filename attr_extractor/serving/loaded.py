"""One version of a model in memory: a SavedModel in a Session, as TF Serving holds it.

Not tf.saved_model.load: its objects and functions stay in TensorFlow's global context, those of
every version that was ever loaded, where a closed Session gives everything back.
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
    """One function of the model; any thread may call it."""

    name: str
    inputs: dict[str, Spec]
    outputs: dict[str, Spec]
    call: Callable[..., Sequence[np.ndarray]]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs, sorted by name.

        Raises:
          tf.errors.OpError: the graph refuses the inputs.
          ServingError: it does so with a message that quotes bytes which are no text.
        """
        try:
            found = self.call(*(inputs[name] for name in self.inputs))
        except UnicodeDecodeError as error:  # TensorFlow cannot read its own message
            raise invalid(f"the graph of {self.name} refuses the inputs") from error
        return dict(zip(self.outputs, found))


class LoadedModel:
    """A version folder's signatures; blocking, to be made, warmed and closed off the event loop."""

    def __init__(self, path: Path):
        """Loads it.

        Raises:
          OSError, RuntimeError, ValueError, tf.errors.OpError: it is not a whole SavedModel, or
            one whose signatures have no open first dimension.
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
                if signature.inputs  # the initialiser stands among them and has none
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
        """Answers the version's own warm-up requests, or made-up ones of 1 and of batch_size rows.

        Raises:
          ServingError, tf.errors.OpError: the version does not answer its own requests.
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
                    # an empty text need not be what the signature reads, an Example say
                    logging.info("%s is not warmed: %s", signature.name, error.message)

    def close(self) -> None:
        """Gives its memory back; nothing may be running any more."""
        self._session.close()


def _threads(path: Path) -> tf.compat.v1.ConfigProto:
    """As many for an operation as its parts want; a process' first version decides."""
    description = path / "assets" / "model.json"  # other people's models have none
    facts = files.read_json(description, "its description") if description.is_file() else {}
    parts = facts.get("parts") if isinstance(facts, dict) else None
    threads = deployment.operation_threads(parts if isinstance(parts, int) else 1)
    return tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads)
