"""Data for TensorBoard's projector: pooled features of validation photos as a point cloud."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor import labels, storage
from attr_extractor.model import network
from attr_extractor.schema import SEPARATOR, Schema

PHOTOS = 1000


def write(folder: Path, logits: Any, batches: tf.data.Dataset, schema: Schema) -> None:
    """Write features, labels and the projector's config for the first photos of `batches`.

    Args:
      folder: folder of a TensorBoard run: the plugin searches next to the event files.
      logits: the network, uint8 [B, H, W, 3] -> float32 [B, V].
      batches: the result of `dataset.evaluation_batches`.
    """
    pooled = keras.Model(logits.input, logits.get_layer(network.POOLED).output)
    forward = tf.function(lambda pixels: tf.cast(pooled(pixels, training=False), tf.float32))
    features: list[np.ndarray] = []
    lines = ["\t".join(["product_id", *schema.names])]
    for batch in batches.unbatch().take(PHOTOS).batch(32):
        features.append(forward(batch["pixels"]).numpy())  # [B, D]
        for product, codes in zip(batch["product_id"].numpy(), batch["labels"].numpy()):
            lines.append("\t".join([_cell(product.decode()), *_cells(schema, codes)]))
    cloud = np.concatenate(features)  # [at most PHOTOS, D]
    table = io.BytesIO()
    np.savetxt(table, cloud, fmt="%.6g", delimiter="\t")
    storage.write(folder / "tensors.tsv", table.getvalue())
    storage.write(folder / "metadata.tsv", ("\n".join(lines) + "\n").encode())
    storage.write(folder / "projector_config.pbtxt", CONFIG.format(*cloud.shape).encode())


CONFIG = """embeddings {{
  tensor_name: "pooled features of validation photos"
  tensor_shape: {}
  tensor_shape: {}
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
}}
"""


def _cells(schema: Schema, codes: np.ndarray) -> list[str]:
    """Return the text of every attribute; the four states of a label stay distinct."""
    decoded = labels.decode(schema, codes).values()
    return [
        "(missing)" if values is None else _cell(SEPARATOR.join(values)) or "(not applicable)"
        for values in decoded
    ]


def _cell(text: str) -> str:
    """Replace tabs and line ends, which would break the table: its format has no quotes."""
    return " ".join(text.split())
