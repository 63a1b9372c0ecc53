"""Answers for photos from Python: `Predictor` returns the values of pictures with their scores.

A picture takes the same way as a photo of a table in `attr-extractor predict`: it is stored as
records store photos, scored by the exported model, and post-processed by the same rules.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Union

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from attr_extractor import labels, storage
from attr_extractor.catalogue import photos
from attr_extractor.enrichment import scoring
from attr_extractor.enrichment.scoring import Scores, StoredPhoto
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.schema import SEPARATOR
from attr_extractor.serving import model_dir
from attr_extractor.web import pages

Photo = Union[str, Path, bytes, np.ndarray, Image.Image]  # an array: uint8 [H, W, 3] or [H, W]
Item = Union[Photo, Sequence[Photo]]  # one photo, or the photos of one product
Known = Mapping[str, str]  # known cells of a product, by attribute; several values separated by |


@dataclass(frozen=True)
class Prediction:
    """The answers for one photo, or for the photos of one product together."""

    answers: dict[str, dict[str, float]]  # per attribute: values with their scores, best first
    error: str = ""  # why photos are unreadable; there are no answers if all are

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can represent."""
        return {"answers": self.answers, "error": self.error}


class Predictions(List[Prediction]):
    """The predictions of a call, in the order of the photos."""

    def to_dict(self) -> list[dict[str, Any]]:
        """Return one dict per prediction."""
        return [prediction.to_dict() for prediction in self]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per prediction.

        Columns: per attribute the values, separated by |, and `<name>_score`, their lowest score,
        NaN without an answer; `error`.
        """
        rows = []
        for prediction in self:
            row: dict[str, Any] = {}
            for name, values in prediction.answers.items():
                row[name] = SEPARATOR.join(values)
                row[f"{name}_score"] = min(values.values(), default=float("nan"))
            rows.append({**row, "error": prediction.error})
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """Render a table for notebooks."""
        return pages.render("predictions.html", predictions=self)


class Predictor:
    """The answers of an exported model, computed in this process or by a server of that model."""

    def __init__(self, model: str | Path):
        """Load the model, or connect to its server.

        Args:
          model: a version folder; a model's folder, whose highest version is used; or the address
            of a server, `grpc://HOST:PORT/NAME` or `http://HOST:PORT/NAME`. A server that loads
            another version later is an error of the next call.

        Raises:
          InputError: if the folder is not a model of this package, the address is invalid, or the
            served model is of an older release.
          TemporaryError: if the server cannot be reached.
        """
        if str(model).startswith(("grpc://", "http://", "https://")):
            self._model: model_dir.Description = scoring.describe_served(str(model))
            self._score = scoring.remote(str(model), self._model)
            self._context = scoring.remote_context(str(model), self._model)
        else:
            loaded = model_dir.load(model)
            self._model, self._score = loaded, scoring.local(loaded)
            self._context = scoring.local_context(loaded)
        self.schema = self._model.schema

    def predict(
        self,
        items: Item | Iterable[Item],
        known: Iterable[Known] | None = None,
        texts: Iterable[str] | None = None,
    ) -> Predictions:
        """Return the answers for photos or products.

        Args:
          items: a photo, or a list whose items are photos or lists of the photos of one product.
          known: known cells of each item: its category limits the answers, and its values are kept.
            A model trained with `model.context.known` also reads them for its other answers.
          texts: text of each item, such as its title, for a model trained with
            `model.context.text`; others do not read it.

        Raises:
          InputError: if `known` has an unknown attribute or value, or contradicts the schema, or
            `known` or `texts` has another length than `items`; or if the server rejects a
            request. An unreadable photo is an error of its own item.
        """
        if isinstance(items, (str, Path, bytes, np.ndarray, Image.Image)):
            items = [items]
        return Predictions(self.stream(items, known, texts))

    def stream(
        self,
        items: Iterable[Item],
        known: Iterable[Known] | None = None,
        texts: Iterable[str] | None = None,
    ) -> Iterator[Prediction]:
        """Yield the answers for any number of items, in order, in constant memory.

        A few batches are read ahead in threads. For arguments and errors see `predict`.
        """
        context_of_batches: deque[tuple[np.ndarray, list[str]]] = deque()

        def batches() -> Iterator[list[Item]]:
            with_known = _pairs(items, known, {}, "known")
            for batch in scoring.in_batches(_pairs(with_known, texts, "", "texts")):
                cells = np.stack([self._encode(cells) for (_, cells), _ in batch])
                context_of_batches.append((cells, [text for _, text in batch]))
                yield [item for (item, _), _ in batch]

        for scored in scoring.pooled(batches(), self._read, self._score, self.schema.num_values):
            cells, of_items = context_of_batches.popleft()
            if self._model.context:
                present = cells == labels.PRESENT
                found = self._context.combine(scored.scores, present, of_items)
                scored = scored._replace(scores=found)
            yield from self._answer(scored, cells)

    def _read(self, items: Sequence[Item]) -> list[StoredPhoto]:
        stored = []
        for i, item in enumerate(items):
            of_product = list(item) if isinstance(item, (list, tuple)) else [item]
            if not of_product:
                stored.append(StoredPhoto(i, b"", "no photo given"))
            for photo in of_product:
                try:
                    raw = _raw(photo)
                    encoded = photos.store(raw, self._model.facts.photo_short_side).encoded
                    stored.append(StoredPhoto(i, encoded, ""))
                except photos.PhotoError as error:
                    name = f"{photo}: " if isinstance(photo, (str, Path)) else ""
                    stored.append(StoredPhoto(i, b"", f"{name}{error}"))
        return stored

    def _encode(self, known: Known) -> np.ndarray:
        """Return the labels of an item's known cells, int8 [V]."""
        for name, cell in known.items():
            if name not in self.schema.names:
                guess = did_you_mean(str(name), self.schema.names)
                raise InputError(f"known: there is no attribute {name!r}{guess}")
            if not isinstance(cell, str):
                raise InputError(f"known: {name}: write the cell as text, not {cell!r}")
        encoded, issues = labels.encode(self.schema, known)
        for issue in issues:
            guess = f"; did you mean {issue.nearest!r}?" if issue.nearest else ""
            raise InputError(f"known: {issue.attribute}: {issue.cell!r}: {issue.kind}{guess}")
        return encoded

    def _answer(self, scored: Scores, known: np.ndarray) -> Iterator[Prediction]:
        """Yield the predictions of N items.

        Args:
          known: labels of their known cells, int8 [N, V].
        """
        schema = self.schema
        scores = np.nan_to_num(scored.scores)  # without a readable photo 0: above no threshold
        given = known == labels.PRESENT  # [N, V]
        category = labels.category_of(known, schema)
        chosen = self._model.answers.chosen(
            tf.constant(scores), category=tf.constant(category, tf.int32)
        ).numpy()
        for i, error in enumerate(scored.errors):
            answers = {}
            for name, where in schema.slices.items():
                kept = given[i, where] if given[i, where].any() else chosen[i, where]
                ordered = sorted(np.flatnonzero(kept), key=lambda v: -scores[i, where][v])
                values = schema[name].values
                answers[name] = {values[v]: round(float(scores[i, where][v]), 6) for v in ordered}
            yield Prediction(answers, error)


def _pairs(
    items: Iterable[Any], given: Iterable[Any] | None, default: Any, name: str
) -> Iterator[tuple[Any, Any]]:
    """Yield each item with its entry of an argument, or with a default if it was not given."""
    if given is None:
        yield from ((item, default) for item in items)
        return
    entries = iter(given)
    for item in items:
        try:
            yield item, next(entries)
        except StopIteration:
            raise InputError(f"{name}: it has fewer entries than there are items") from None
    if next(entries, None) is not None:
        raise InputError(f"{name}: it has more entries than there are items")


def _raw(photo: Any) -> bytes:
    """Return the bytes of a picture's file; pixels are stored losslessly.

    Raises:
      PhotoError: if there is no such file, or the object is not a picture.
    """
    if isinstance(photo, bytes):
        return photo
    try:
        if isinstance(photo, (str, Path)):
            return storage.read(photo)
        picture = photo
        if isinstance(photo, np.ndarray):
            if photo.dtype != np.uint8 or photo.shape[2:] not in ((), (3,)) or not photo.size:
                form = f"{photo.dtype} {list(photo.shape)}"
                raise photos.PhotoError(f"an array of uint8 [H, W, 3] is required, not {form}")
            picture = Image.fromarray(photo)
        if not isinstance(picture, Image.Image):
            name = type(photo).__name__
            raise photos.PhotoError(f"{name} is neither a path, bytes, an array nor a picture")
        out = io.BytesIO()
        picture.save(out, "PNG", compress_level=1)
        return out.getvalue()
    except FileNotFoundError as error:
        raise photos.PhotoError(photos.NOT_FOUND) from error
    except (OSError, ValueError) as error:  # of the file system, or Pillow cannot store the mode
        raise photos.PhotoError(f"{photos.UNREADABLE}: {error}") from error
