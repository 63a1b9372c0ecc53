"""Explanations of a trained run's answers: heat maps of the requested values, and attention maps.

The network comes from `RunDir.load_network`, as in the exporter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import List

import numpy as np
import tensorflow as tf

from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.evaluation.explain import heat_map
from attr_extractor.evaluation.explain.attention_maps import AttentionMaps
from attr_extractor.evaluation.explain.grad_cam import GradCam
from attr_extractor.evaluation.explain.told import Share, Told
from attr_extractor.model.answers import MAX_ANSWERS
from attr_extractor.model.network import Network
from attr_extractor.records import pixels
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir

PAIRS_PER_CALL = 32  # pairs of a photo and a value


@dataclass(frozen=True)
class Explanation:
    """The score of a value in one photo, and the heat map that explains it."""

    attribute: str
    value: str
    score: float
    heat: np.ndarray  # float32 [H, W], the photo's size, in 0 .. 1
    shares: List[Share] = field(default_factory=list)  # of known cells and words in the score


class Explainer:
    """Explainer of any value in any photo by a run's network, which is loaded unless given."""

    def __init__(self, run: RunDir, network: Network | None = None):
        self.run = run
        self._network = network or run.load_network()
        possible = AttentionMaps.is_possible(self._network)
        self._attention = AttentionMaps(self._network) if possible else None
        self._grad_cam = GradCam(self._network)
        self._answers = run.answers()

    @property
    def schema(self) -> Schema:
        """The schema of the run."""
        return self.run.schema

    @property
    def has_attention(self) -> bool:
        """Whether the network has a transformer block, which `attended` requires."""
        return self._attention is not None

    def heat(self, photo: np.ndarray, attribute: str, value: str) -> np.ndarray:
        """Return the heat, float32 [H, W] in 0 .. 1, of one value in one photo, uint8 [H, W, 3].

        Raises:
          InputError: if the attribute or value is unknown.
        """
        return self.explain([photo], attribute, value)[0][0].heat

    def explain(
        self,
        batch: Sequence[np.ndarray],
        attribute: str | None = None,
        value: str | None = None,
        told: Told | None = None,
    ) -> list[list[Explanation]]:
        """Return the explanations of each photo, in the schema's order.

        Args:
          batch: stored photos, uint8 [H, W, 3], of any sizes.
          attribute: if None, explain the answered values of every attribute.
          value: if None, explain the attribute's answered values, or its best value if none is
            answered.
          told: what is known besides the photos, which are then those of one product.

        Raises:
          InputError: if the attribute or value is unknown.
        """
        asked = find_value(self.schema, attribute, value)
        prepared = self._pixels(batch)
        scores = self._network.flat_scores(prepared)  # [B, V]
        if told is not None:
            scores = told.in_context(scores)
        pairs = self._pairs(scores, attribute, asked)  # [P, 2]: photo, value
        explanations: list[list[Explanation]] = [[] for _ in batch]
        for (row, v), heat in zip(pairs, self._heats(prepared, pairs)):
            name = self.schema.names[self.schema.attribute_of_value[v]]
            text = self.schema[name].values[v - self.schema.slices[name].start]
            placed = self._on_photo(heat, batch[row])
            shares = told.shares(v) if told is not None else []
            explained = Explanation(name, text, float(scores[row, v]), placed, shares)
            explanations[row].append(explained)
        return explanations

    def told(self, known: Mapping[str, str], text: str) -> Told:
        """Return what is known of a product for `explain`; see `Told` for arguments and errors."""
        return Told(self._network, known, text)

    def attended(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each photo's attention maps, float32 [heads, H, W] in 0 .. 1.

        Raises:
          InputError: if the run's network has no attention.
        """
        if self._attention is None:
            raise InputError(f"{self.run.path}: its network has no attention (model.attention)")
        heads = self._attention.attended(self._pixels(batch)).numpy()  # [B, heads, h, w]
        return [
            np.stack([self._on_photo(each, photo) for each in of_photo])
            for photo, of_photo in zip(batch, heads)
        ]

    def _on_photo(self, heat: np.ndarray, photo: np.ndarray) -> np.ndarray:
        return heat_map.on_photo(heat, photo.shape[:2], self.run.config.data.square)

    def _pixels(self, batch: Sequence[np.ndarray]) -> tf.Tensor:
        data = self.run.config.data
        return tf.stack([pixels.to_model_size(p, data.image_size, data.square) for p in batch])

    def _pairs(self, scores: tf.Tensor, attribute: str | None, asked: int | None) -> np.ndarray:
        """Return int32 [P, 2], photos and values to explain, each attribute's best value first."""
        if asked is not None:
            return np.array([[row, asked] for row in range(len(scores))], np.int32)
        chosen = self._answers.chosen(scores, always=attribute is not None).numpy()
        pairs = []
        for row, of_row in enumerate(chosen):
            for name, where in self.schema.slices.items():
                if attribute in (None, name):
                    kept = where.start + np.flatnonzero(of_row[where])
                    best_first = kept[np.argsort(-scores.numpy()[row, kept], kind="stable")]
                    pairs += [[row, v] for v in best_first[:MAX_ANSWERS]]
        return np.array(pairs, np.int32).reshape(-1, 2)

    def _heats(self, prepared: tf.Tensor, pairs: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(pairs), PAIRS_PER_CALL):
            rows, values = pairs[start : start + PAIRS_PER_CALL].T
            of_pairs = tf.gather(prepared, rows)  # [P, H, W, 3]
            yield from self._grad_cam.heats(of_pairs, tf.constant(values)).numpy()


def find_value(schema: Schema, attribute: str | None, value: str | None) -> int | None:
    """Return a value's index among the V; None if no value is given.

    Raises:
      InputError: if the attribute or value is unknown, or a value is given without its attribute.
    """
    if attribute is None:
        if value is not None:
            raise InputError(f"the value {value!r} requires its attribute: set --attribute")
        return None
    if attribute not in schema.names:
        hint = did_you_mean(attribute, schema.names)
        raise InputError(f"schema {schema.name!r}: no attribute {attribute!r}{hint}")
    if value is None:
        return None
    position = schema[attribute].value_of(value)
    if position is None:
        hint = did_you_mean(value, schema[attribute].values)
        raise InputError(f"schema {schema.name!r}: {attribute} has no value {value!r}{hint}")
    return schema.slices[attribute].start + position
