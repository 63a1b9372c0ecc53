"""Localisation of heat on drawn garments, whose neck and sleeve regions are known.

The heat of the best value is measured on photos that the run cannot have seen. It is compared with
chance, the region's share of the photo, and with the heat of the other attribute in the same photo,
which would lie in the region as often if heat only followed the garment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.demo import products
from attr_extractor.demo.photo import draw_photo
from attr_extractor.demo.scene import Scene
from attr_extractor.errors import InputError
from attr_extractor.evaluation.explain import heat_map
from attr_extractor.evaluation.explain.grad_cam import GradCam
from attr_extractor.model.attention import TransformerBlock
from attr_extractor.model.network import ATTENTION, FEATURE_MAP, POOLED, Network
from attr_extractor.records import pixels
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir
from benchmarks.drawn_regions import regions

ATTRIBUTES = ("neck_type", "sleeve_length")
SEED = 10**6  # of the drawn photos; demo catalogues have small seeds
BATCH = 25


@dataclass(frozen=True)
class Drawn:
    """A drawn photo uint8 [H, W, 3] and the region of each attribute, bool [H, W]."""

    photo: np.ndarray
    regions: dict[str, np.ndarray]


def report(run_dir: str | Path, count: int) -> str:
    """Return a table of the localisation of heat, for Grad-CAM as shipped and for its variants.

    Raises:
      InputError: if there is no trained run, or its schema is not the demo's.
    """
    run = RunDir.read(run_dir)
    products.require_drawable(run.schema)
    for name in ATTRIBUTES:
        if name not in run.schema.names:
            raise InputError(f"{run_dir}: its schema has no attribute {name}, which is required")
    network = run.load_network()
    photos = list(draw(run.schema, count))
    lines = [
        f"{count} drawn photos of seed {SEED}; hottest: share of photos whose maximum heat is in "
        "the region; heat: share of the heat in the region;",
        "chance: the region's share of the photo; other: share of photos whose maximum heat of the "
        "other attribute is in this region",
        f"{'':50} {'attribute':14} hottest   heat  chance  other",
    ]
    for name, grad_cam in _ways(network).items():
        for attribute, row in measure(run, network, grad_cam, photos).items():
            figures = "  ".join(
                f"{row[key]:6.3f}" for key in ("hottest", "heat", "chance", "other")
            )
            lines.append(f"{name:50} {attribute:14} {figures}")
    return "\n".join(lines)


def draw(schema: Schema, count: int) -> Iterator[Drawn]:
    """Yield the first `count` drawn products of SEED that have a neckline and sleeves."""
    index = 0
    while count:
        product = products.draw_product(schema, SEED, index)
        index += 1
        if all(product.values[name] for name in ATTRIBUTES):
            scene = Scene.random(products.stream(SEED, product.index, products.STREAM_PHOTOS, 1))
            photo = np.asarray(draw_photo(product.values, product.look, scene))
            yield Drawn(photo, regions(product.values, scene))
            count -= 1


def measure(
    run: RunDir, network: Network, grad_cam: GradCam, photos: list[Drawn]
) -> dict[str, dict[str, float]]:
    """Return the means over photos of `hottest`, `heat`, `chance` and `other` per attribute."""
    rows: dict[str, list[list[float]]] = {name: [] for name in ATTRIBUTES}
    for start in range(0, len(photos), BATCH):
        batch = photos[start : start + BATCH]
        heats = {name: _heats(run, network, grad_cam, batch, name) for name in ATTRIBUTES}
        for name, other in (ATTRIBUTES, ATTRIBUTES[::-1]):
            for drawn, own, others in zip(batch, heats[name], heats[other]):
                region = drawn.regions[name]
                inside = float((own * region).sum() / max(own.sum(), 1e-9))
                hits = [
                    _hottest_in(region, own),
                    inside,
                    region.mean(),
                    _hottest_in(region, others),
                ]
                rows[name].append(hits)
    keys = ("hottest", "heat", "chance", "other")
    return {name: dict(zip(keys, np.mean(of, axis=0).tolist())) for name, of in rows.items()}


def _heats(
    run: RunDir, network: Network, grad_cam: GradCam, batch: list[Drawn], attribute: str
) -> list[np.ndarray]:
    """Return the heat [H, W] of the attribute's best value in each photo."""
    data, where = run.config.data, run.schema.slices[attribute]
    prepared = [pixels.to_model_size(d.photo, data.image_size, data.square) for d in batch]
    best = tf.argmax(network.flat_scores(tf.stack(prepared))[:, where], 1, tf.int32) + where.start
    heats = grad_cam.heats(tf.stack(prepared), best).numpy()  # [B, h, w]
    return [
        heat_map.on_photo(heat, drawn.photo.shape[:2], data.square)
        for heat, drawn in zip(heats, batch)
    ]


def _hottest_in(region: np.ndarray, heat: np.ndarray) -> float:
    return float(heat.any() and region.flat[heat.argmax()])


def _ways(network: Network) -> dict[str, GradCam]:
    """Return the variants of Grad-CAM by name; the last one only if the block alone is pooled."""
    last = network.maps[-1]
    ways = {
        "as shipped": GradCam(network),
        "mean gradients, as in the Grad-CAM paper": GradCam(network, mean_weights=True),
        "last map": GradCam(network, [last]),
        "last map, mean gradients": GradCam(network, [last], mean_weights=True),
    }
    pooled = network.logits.get_layer(POOLED).input
    if pooled._keras_history[0].name == ATTENTION:
        unpooled, after = _with_positions_after_the_block(network)
        ways["after the transformer block"] = GradCam(unpooled, [after])
    return ways


def _with_positions_after_the_block(network: Network) -> tuple[Network, Any]:
    """Split the mean from the block; return the network and the block's positions [B, N, D].

    Only `logits` is replaced; the network's other fields belong to the original graph.
    """
    model: Any = network.logits
    fused = model.get_layer(ATTENTION)
    block = TransformerBlock.from_config(fused.get_config())
    positions = block(model.get_layer(FEATURE_MAP).output)  # [B, N, D]
    block.set_weights(fused.get_weights())
    pooled = keras.layers.GlobalAveragePooling1D()(positions)
    rest = keras.Model(fused.output, model.output)
    logits = keras.Model(model.inputs, rest(pooled))
    return dataclasses.replace(network, logits=logits), positions
