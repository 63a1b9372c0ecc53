"""Demo catalogue: write the photos, the seller's half-filled table and the ground truth.

catalogue.csv   product_id, image, one column per attribute; the input of attr-extractor build
truth.csv       the same rows without missing or wrong cells, for inspection and tests
images/         p00000_0.jpg; about one product in ten also has p00000_1.jpg
"""

from __future__ import annotations

import functools
import io
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from attr_extractor import storage
from attr_extractor.catalogue.csv_rows import CsvWriter
from attr_extractor.demo import noise
from attr_extractor.demo.photo import draw_photo
from attr_extractor.demo.products import (
    STREAM_PHOTOS,
    STREAM_TABLE,
    Product,
    draw_product,
    require_drawable,
    stream,
)
from attr_extractor.demo.scene import Scene
from attr_extractor.errors import InputError
from attr_extractor.schema import SEPARATOR, Schema

JPEG_QUALITY = 88
PRODUCTS_PER_CALL = 16  # drawn by a worker per task


def write_demo_catalogue(
    output_dir: str | Path,
    num_products: int = 3000,
    seed: int = 0,
    *,
    schema: Schema,
    num_workers: int = 2,
) -> None:
    """Write a catalogue of `num_products` drawn products to `output_dir`.

    Deterministic: the same arguments write the same bytes. Product i depends neither on
    `num_products` nor on `num_workers`, the number of processes.

    Raises:
      InputError: if `num_products` is below 1, if the schema contains a value without a drawing,
        or if the disk is full.
    """
    if num_products < 1:
        raise InputError(f"num_products is {num_products}; it must be at least 1")
    require_drawable(schema)
    output_dir = Path(output_dir)
    (output_dir / "images").mkdir(parents=True, exist_ok=True)
    header = [schema.column(name) for name in ("product_id", "image", *schema.names)]
    paths = [output_dir / "catalogue.csv", output_dir / "truth.csv"]
    write = functools.partial(_write_product, output_dir, schema, seed)
    workers = ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"))
    with (
        storage.writable(output_dir),
        _open_table(paths[0]) as table,
        _open_table(paths[1]) as truth,
        workers as pool,
    ):
        rows, true_rows = CsvWriter(table), CsvWriter(truth)
        rows.writerow(header)
        true_rows.writerow(header)
        written = pool.map(write, range(num_products), chunksize=PRODUCTS_PER_CALL)
        for row, true_row in tqdm(written, total=num_products, unit="product", desc="drawing"):
            rows.writerow(row)
            true_rows.writerow(true_row)


def _write_product(
    output_dir: Path, schema: Schema, seed: int, index: int
) -> tuple[list[str], list[str]]:
    """Draw one product's photos; return the seller's row and the true row."""
    product = draw_product(schema, seed, index)
    rng = stream(seed, index, STREAM_TABLE)
    photos = 2 if rng.uniform() < noise.SECOND_PHOTOS else 1
    names = [f"images/{product.product_id}_{k}.jpg" for k in range(photos)]
    for k, name in enumerate(names):
        _write_photo(output_dir / name, product, seed, k)
    cells = noise.seller_cells(schema, product, rng)
    key = [product.product_id, SEPARATOR.join(names)]
    true_cells = [SEPARATOR.join(values) for values in product.values.values()]
    return [*key, *(cells[name] for name in schema.names)], [*key, *true_cells]


def _write_photo(path: Path, product: Product, seed: int, which: int) -> None:
    scene = Scene.random(stream(seed, product.index, STREAM_PHOTOS, which + 1))
    photo = draw_photo(product.values, product.look, scene)
    how = noise.broken_photo(product.index) if which == 0 else None
    encoded = _encoded(photo, "PNG" if how == "PNG named .jpg" else "JPEG")
    with storage.writable(path):
        if how is None or how == "PNG named .jpg":
            path.write_bytes(encoded)
        else:
            noise.write_broken(path, encoded, how)


def _encoded(photo: Image.Image, file_format: str) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, file_format, quality=JPEG_QUALITY)
    return buffer.getvalue()


def _open_table(path: Path) -> io.TextIOWrapper:
    return path.open("w", encoding="utf-8", newline="")
