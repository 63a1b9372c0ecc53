"""One version of a model in memory: a SavedModel in a Session, as in TF Serving.

tf.saved_model.load is not used: its objects and functions stay in TensorFlow's global context, for
every version that was ever loaded. Closing a Session frees all of its memory, but glibc keeps freed
blocks for reuse, and loading a version frees far more memory than the loaded version occupies;
`trim` returns it to the operating system.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import prediction_log_pb2

from attr_extractor import files
from attr_extractor.serving import deployment
from attr_extractor.serving.model_dir import WARMUP
from attr_extractor.serving.server import tensors
from attr_extractor.serving.server.status import invalid
from attr_extractor.serving.server.tensors import Arrays, Specs

DEFAULT = "serving_default"


@dataclass(frozen=True)
class Signature:
    """A function of the model; thread-safe."""

    name: str
    inputs: Specs
    outputs: Specs
    call: Callable[..., Sequence[np.ndarray]]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs, sorted by name.

        Raises:
          tf.errors.OpError: if the graph rejects the inputs.
          ServingError: if the graph rejects them with a message that is not valid UTF-8.
        """
        try:
            arrays = self.call(*(inputs[name] for name in self.inputs))
        except UnicodeDecodeError as error:  # TensorFlow fails to decode its message
            raise invalid(f"the graph of {self.name} rejects the inputs") from error
        return dict(zip(self.outputs, arrays))


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
            self.signature_def: dict[str, SignatureDef] = dict(meta.signature_def)
            self.signatures = {
                name: self._signature(name, signature)
                for name, signature in self.signature_def.items()
                if signature.inputs  # the initialiser is listed too and has no inputs
            }
        except BaseException:
            self._session.close()
            raise

    def _signature(self, name: str, signature: SignatureDef) -> Signature:
        inputs, outputs = (
            {key: tensors.to_spec(key, infos[key]) for key in sorted(infos)}
            for infos in (signature.inputs, signature.outputs)
        )
        call = self._session.make_callable(
            [signature.outputs[key].name for key in outputs],
            [signature.inputs[key].name for key in inputs],
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
                        [rows, *(size or 1 for size in spec.shape.as_list()[1:])],
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


def collect() -> None:
    """Free unreachable reference cycles, including graphs, and trim."""
    gc.collect()
    trim()


def trim() -> None:
    """Return the free pages of all heaps; do nothing if the C library is not glibc."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)  # the C library of this process
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(ctypes.c_size_t(0))
