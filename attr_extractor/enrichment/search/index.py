"""Nearest-neighbour search in an index: each product is ranked by its nearest photo."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor import files
from attr_extractor.enrichment.search import folder, vectors
from attr_extractor.enrichment.search.filters import Filter
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema, require_same
from attr_extractor.serving.model_dir import Description


@dataclass(frozen=True)
class Found:
    """A product and its nearest photo."""

    photo: int  # number of the photo in the index
    product_id: str
    image: str  # path below the image root
    similarity: float  # cosine of the two embeddings
    seller: dict[str, str]  # the seller's values by attribute


class Index:
    """An index opened for search: vectors and the table of their photos."""

    def __init__(self, path: str | Path, model: Description):
        """Open an index folder.

        Args:
          path: the folder.
          model: the model that queries are embedded with.

        Raises:
          InputError: if it is not a finished index, or was built with another model or schema.
        """
        path = Path(path)
        self.facts = folder.read_facts(path)
        self.schema: Schema = model.schema
        require_same(self.facts.fingerprint, model.schema, str(path))
        if self.facts.model != model.digest():
            raise InputError(
                f"{path}: built with another model than {model.path}: the embeddings are not "
                "comparable; search with that model, or build the index again"
            )
        self.vectors = vectors.read(path / folder.VECTORS)
        self._photos_file = path / folder.PHOTOS
        self._photos = files.read_table(
            self._photos_file, [folder.PRODUCT, folder.IMAGE, folder.IMAGE_INDEX]
        )
        if not len(self._photos) == self.vectors.ntotal == self.facts.photos:
            raise InputError(
                f"{path}: {folder.PHOTOS} has {len(self._photos):,} rows, {folder.VECTORS} "
                f"{self.vectors.ntotal:,} vectors, {folder.FACTS} records {self.facts.photos:,}: "
                "files of different builds; build the index again"
            )
        self._seller = functools.lru_cache(None)(self._read_seller)

    def __len__(self) -> int:
        return len(self._photos)

    def mask(self, filters: Sequence[Filter], without: str | None = None) -> np.ndarray | None:
        """Return a mask bool [N] of photos that match all filters; None: all photos match.

        Photos of the product `without` are excluded.
        """
        mask = None if without is None and not filters else np.ones(len(self), bool)
        if mask is not None and without is not None:
            mask &= ~pc.equal(self._photos[folder.PRODUCT], without).to_numpy()
        for condition in filters:
            cells = self._seller(condition.attribute)
            lets = np.array([condition.lets(cell) for cell in cells.dictionary.to_pylist()], bool)
            mask &= lets[cells.indices.to_numpy()]
        return mask

    def nearest(
        self,
        query: np.ndarray,
        count: int,
        filters: Sequence[Filter] = (),
        without: str | None = None,
    ) -> list[Found]:
        """Return the `count` nearest products that match the filters, best first.

        The search is exact if at most vectors.EXACT_UP_TO photos match.

        Args:
          query: float32 [D] of unit length.
          count: maximum number of products.
          filters: conditions that a photo must match.
          without: product id to exclude, such as that of the query.
        """
        mask = self.mask(filters, without)
        left = len(self) if mask is None else int(mask.sum())
        if not left:
            return []
        cells = getattr(self.vectors, "nlist", 1)
        probes = cells if left <= vectors.EXACT_UP_TO else min(vectors.PROBES, cells)
        depth = min(left, 2 * count)
        while True:
            numbers, similar = vectors.search(self.vectors, query, depth, mask, probes)
            products = self._photos[folder.PRODUCT].take(numbers).to_pylist()
            firsts: dict[str, int] = {}
            for i, product in enumerate(products):
                firsts.setdefault(product, i)
            short = len(numbers) < depth  # the probed cells contain no more
            if len(firsts) >= count or len(numbers) == left or (short and probes == cells):
                break
            if short:
                probes = min(4 * probes, cells)
            else:
                depth = min(4 * depth, left)
        best = list(firsts.values())[:count]
        return [self.found(int(numbers[i]), float(similar[i])) for i in best]

    def found(self, number: int, similarity: float = 1.0) -> Found:
        """Return product, path and seller's values of a photo by its number."""
        return Found(
            number,
            self._photos[folder.PRODUCT][number].as_py(),
            self._photos[folder.IMAGE][number].as_py(),
            similarity,
            {name: self._seller(name)[number].as_py() for name in self.schema.names},
        )

    def photo_of(self, product_id: str) -> int | None:
        """Return the number of a product's first photo, or None if the product is unknown."""
        number = pc.index(self._photos[folder.PRODUCT], product_id).as_py()
        return None if number < 0 else number

    def vector(self, number: int) -> np.ndarray:
        """Return the embedding float32 [D] of a photo by its number."""
        return self.vectors.reconstruct(number)

    def _read_seller(self, attribute: str) -> pa.DictionaryArray:
        column = folder.seller_column(attribute)
        cells = files.read_table(self._photos_file, [column])[column]
        return pa.chunked_array(cells.chunks, pa.string()).combine_chunks().dictionary_encode()
