"""An index folder: its files, filters on seller's values, and nearest-neighbour search.

index.faiss     the vectors, numbered from 0
photos.parquet  one row per vector: row of the table, product_id, image, image_index, and per
                attribute `seller.<name>`: seller's values in the schema's spelling, separated by |
rejects.csv     unreadable photos: row, product_id, image, reason
index.json      model, schema and kind of the index; written last, it marks a finished index
parts/          only during the build

Each product is ranked by its nearest photo.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor import files, working_copy, yaml_files
from attr_extractor.enrichment.search import vectors
from attr_extractor.errors import InputError, did_you_mean, require_folder
from attr_extractor.schema import SEPARATOR, Schema, require_same
from attr_extractor.serving.model_dir import ModelFolder

VECTORS, PHOTOS, REJECTS, FACTS, PARTS = (
    *("index.faiss", "photos.parquet", "rejects.csv", "index.json", "parts"),
)
REJECT_COLUMNS = ("row", "product_id", "image", "reason")
ROW, PRODUCT, IMAGE, IMAGE_INDEX = "row", "product_id", "image", "image_index"
_FILTER = re.compile(r"\s*([^=!]*?)\s*(!?=)(.*)", re.DOTALL)


class IndexFacts(yaml_files.Model):
    """Content of index.json."""

    model: str  # ModelFolder.digest of the model
    fingerprint: str  # fingerprint of the model's schema
    kind: str  # vectors.EXACT or vectors.CELLS
    width: int  # D
    rows: int
    photos: int
    rows_with_photo: int  # with a readable photo
    rejects: int
    image_root: str
    bytes: int  # size of index.faiss


def read_facts(path: str | Path) -> IndexFacts:
    """Read the description of a finished index; raise InputError if it is not one."""
    folder = require_folder(working_copy.folder(path), "the index")
    if not (folder / FACTS).is_file():
        if (folder / PARTS).is_dir():
            raise InputError(
                f"{folder}: unfinished: {FACTS} is missing; rerun attr-extractor index to " "resume"
            )
        raise InputError(f"{folder}: not an index: {FACTS} is missing; run attr-extractor index")
    content = files.read_json(folder / FACTS, "the index's description")
    facts = yaml_files.validate(IndexFacts, content, str(folder / FACTS))
    vectors_file = folder / VECTORS
    size = vectors_file.stat().st_size if vectors_file.is_file() else 0
    if size != facts.bytes:
        raise InputError(
            f"{vectors_file}: has {size:,} bytes, {FACTS} records {facts.bytes:,}: incomplete; "
            "copy or build it again"
        )
    return facts


def seller_column(attribute: str) -> str:
    """Return the column of photos.parquet with the seller's values of an attribute."""
    return f"seller.{attribute}"


def photos_schema(schema: Schema) -> pa.Schema:
    """Return the schema of photos.parquet."""
    fields = [
        (ROW, pa.int64()),  # row number in the table, from 1
        (PRODUCT, pa.string()),
        (IMAGE, pa.string()),  # path below the image root
        (IMAGE_INDEX, pa.int32()),  # index of the photo in its row, from 0
    ]
    return pa.schema([*fields, *((seller_column(name), pa.string()) for name in schema.names)])


@dataclass(frozen=True)
class Filter:
    """One condition on the seller's values of one attribute.

    `print=floral` and `color=red|blue` match if at least one of the listed values is among the
    seller's, `neck_type!=v-neck` if none is. An empty cell has no value and therefore matches `!=`.
    """

    attribute: str
    values: frozenset[str]  # in the schema's spelling
    wanted: bool  # True for `=`, False for `!=`

    @classmethod
    def parse(cls, text: str, schema: Schema) -> Filter:
        """Parse a filter; raise InputError for an unknown attribute or value."""
        match = _FILTER.fullmatch(text)
        if match is None:
            raise InputError(f"--filter={text}: write attribute=value or attribute!=value")
        name, sign, values_text = match.groups()
        if name not in schema.index:
            raise InputError(
                f"--filter={text}: there is no attribute {name!r}{did_you_mean(name, schema.names)}"
            )
        attribute = schema[name]
        values = set()
        for spelling in values_text.split(SEPARATOR):
            value = attribute.value_of(spelling)
            if value is None:
                spelling = spelling.strip()
                guess = did_you_mean(spelling, attribute.values)
                raise InputError(f"--filter={text}: {name} has no value {spelling!r}{guess}")
            values.add(attribute.values[value])
        return cls(name, frozenset(values), sign == "=")

    def matches(self, cell: str | None) -> bool:
        """Return whether a cell of photos.parquet, its values separated by |, matches."""
        return self.values.isdisjoint((cell or "").split(SEPARATOR)) != self.wanted


@dataclass(frozen=True)
class Hit:
    """A product and its nearest photo."""

    photo: int  # number of the photo in the index
    product_id: str
    image: str  # path below the image root
    similarity: float  # cosine of the two embeddings
    seller: dict[str, str]  # the seller's values by attribute


class Index:
    """An index opened for search: vectors and the table of their photos."""

    def __init__(self, path: str | Path, model: ModelFolder):
        """Open an index folder.

        Args:
          path: the folder.
          model: the model that queries are embedded with.

        Raises:
          InputError: if it is not a finished index, or was built with another model or schema.
        """
        path = working_copy.folder(path)
        self.facts = read_facts(path)
        self.schema: Schema = model.schema
        require_same(self.facts.fingerprint, model.schema, str(path))
        if self.facts.model != model.digest():
            raise InputError(
                f"{path}: built with another model than {model.path}: the embeddings are not "
                "comparable; search with that model, or build the index again"
            )
        self.vectors = vectors.read(path / VECTORS)
        self._photos_file = path / PHOTOS
        self._photos = files.read_table(self._photos_file, [PRODUCT, IMAGE, IMAGE_INDEX])
        if not len(self._photos) == self.vectors.ntotal == self.facts.photos:
            raise InputError(
                f"{path}: {PHOTOS} has {len(self._photos):,} rows, {VECTORS} "
                f"{self.vectors.ntotal:,} vectors, {FACTS} records {self.facts.photos:,}: "
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
            mask &= ~pc.equal(self._photos[PRODUCT], without).to_numpy()
        for condition in filters:
            cells = self._seller(condition.attribute)
            matches = np.array(
                [condition.matches(cell) for cell in cells.dictionary.to_pylist()], bool
            )
            mask &= matches[cells.indices.to_numpy()]
        return mask

    def nearest(
        self,
        query: np.ndarray,
        count: int,
        filters: Sequence[Filter] = (),
        without: str | None = None,
    ) -> list[Hit]:
        """Return the `count` nearest products that match the filters, best first.

        The search is exact if at most vectors.EXACT_UP_TO photos match.

        Args:
          query: float32 [D] of unit length.
          count: maximum number of products.
          filters: filters that a photo must all match.
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
            products = self._photos[PRODUCT].take(numbers).to_pylist()
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
        return [self.hit(int(numbers[i]), float(similar[i])) for i in best]

    def hit(self, number: int, similarity: float = 1.0) -> Hit:
        """Return product, path and seller's values of a photo by its number."""
        return Hit(
            number,
            self._photos[PRODUCT][number].as_py(),
            self._photos[IMAGE][number].as_py(),
            similarity,
            {name: self._seller(name)[number].as_py() for name in self.schema.names},
        )

    def photo_of(self, product_id: str) -> int | None:
        """Return the number of a product's first photo, or None if the product is unknown."""
        number = pc.index(self._photos[PRODUCT], product_id).as_py()
        return None if number < 0 else number

    def vector(self, number: int) -> np.ndarray:
        """Return the embedding float32 [D] of a photo by its number."""
        return self.vectors.reconstruct(number)

    def _read_seller(self, attribute: str) -> pa.DictionaryArray:
        column = seller_column(attribute)
        cells = files.read_table(self._photos_file, [column])[column]
        return pa.chunked_array(cells.chunks, pa.string()).combine_chunks().dictionary_encode()
