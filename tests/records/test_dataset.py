"""Tests of `records/dataset.py`: order, start position, and no Python in the pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor import labels
from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError
from attr_extractor.records import dataset, index, pixels
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import ROOT, Shop
from tests.records.by_hand import labels_of, read_csv, read_split

DATA = DataConfig(image_size=32, batch_size=7, shuffle_buffer=1000)


@pytest.fixture(scope="module")
def manifest(built: Shop) -> Manifest:
    return Manifest.read(built.records)


@pytest.fixture(scope="module")
def steps(manifest: Manifest) -> int:
    """Batches of an epoch, checked to leave a remainder."""
    photos = manifest.splits["train"].photos
    assert photos % DATA.batch_size
    return photos // DATA.batch_size


def batches(built: Shop, manifest: Manifest, count: int, seed=0, start_step=0, data=DATA) -> list:
    stream = dataset.training_batches(built.records, manifest, data, seed, start_step)
    return list(islice(stream.as_numpy_iterator(), count))


def photos_of(batch: dict) -> list[bytes]:
    """One key per photo: a product's second photo has pixels of its own."""
    return [p + b"/" + x.tobytes() for p, x in zip(batch["product_id"], batch["pixels"])]


def order(some: list[dict]) -> list[bytes]:
    return [photo for batch in some for photo in photos_of(batch)]


# Order


def test_an_epoch_has_every_photo_once_except_the_incomplete_batch(built, manifest, steps):
    stream = order(batches(built, manifest, 3 * steps))
    size = steps * DATA.batch_size
    epochs = [stream[i : i + size] for i in range(0, len(stream), size)]
    everything = set(epochs[0]) | set(epochs[1]) | set(epochs[2])
    for epoch in epochs:
        assert max(Counter(epoch).values()) == 1
        assert len(everything - set(epoch)) == manifest.splits["train"].photos - size > 0
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("shuffle_buffer", [1000, 10])
def test_an_epoch_is_shuffled_differently_for_every_seed(built, manifest, steps, shuffle_buffer):
    data = DATA.model_copy(update={"shuffle_buffer": shuffle_buffer})
    stored = [e["product_id"] for e in read_split(built.records, "train")]
    orders = []
    for seed in range(3):
        some = batches(built, manifest, steps, seed, data=data)
        orders.append([product for batch in some for product in batch["product_id"]])
    orders.append(stored)
    for i, first in enumerate(orders):
        for second in orders[:i]:
            same_place = sum(a == b for a, b in zip(first, second))
            assert same_place < 15  # of about 80


PROGRAM = """
import json, sys
import tensorflow as tf
from attr_extractor.config import DataConfig
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
records, seed, count, start = sys.argv[1], *map(int, sys.argv[2:])
tf.random.set_seed(99)
tf.config.threading.set_inter_op_parallelism_threads(1)
data = DataConfig(image_size=32, batch_size=7, shuffle_buffer=1000)
stream = dataset.training_batches(records, Manifest.read(records), data, seed, start)
found = [b["product_id"].tolist() for b in stream.take(count).as_numpy_iterator()]
print(json.dumps([[p.decode() for p in batch] for batch in found]))
"""


def test_the_order_is_the_same_in_a_fresh_process(built, manifest, steps):
    count, start = steps + 2, steps - 1
    here = batches(built, manifest, count, 5, start)
    arguments = [str(built.records), "5", str(count), str(start)]
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    expected = [[p.decode() for p in batch["product_id"]] for batch in here]
    assert json.loads(there.stdout.splitlines()[-1]) == expected


def test_the_order_does_not_depend_on_tensorflows_global_seed(built, manifest, steps):
    tf.random.set_seed(1)
    first = order(batches(built, manifest, steps + 2))
    tf.random.set_seed(2)
    tf.random.uniform([3])
    assert order(batches(built, manifest, steps + 2)) == first


# Position


@pytest.mark.parametrize("shuffle_buffer", [1000, 10])
def test_a_start_step_gives_the_same_batches_as_the_full_stream(
    built, manifest, steps, shuffle_buffer
):
    data = DATA.model_copy(update={"shuffle_buffer": shuffle_buffer})
    stream = batches(built, manifest, 3 * steps, 3, data=data)
    for start in (1, steps - 1, steps, steps + 1, 2 * steps + 4):
        # to the end: into the next epochs as well
        found = batches(built, manifest, 3 * steps - start, 3, start, data)
        for batch, expected in zip(found, stream[start:]):
            assert batch.keys() == expected.keys()
            for name in batch:
                np.testing.assert_array_equal(batch[name], expected[name])


def test_the_training_stream_is_endless(built, manifest, steps):
    (late,) = batches(built, manifest, 1, start_step=1_000_000 * steps + 2)
    assert len(late["product_id"]) == DATA.batch_size


# Content


def test_labels_and_pixels_match_the_row_and_its_photo(built, manifest, schema: Schema):
    rows = {cells["product_id"]: cells for cells in read_csv(built.catalogue)}
    stored: dict[bytes, list[bytes]] = {}
    for example in read_split(built.records, "train"):
        stored.setdefault(example["product_id"], []).append(example["image/encoded"])
    for batch in batches(built, manifest, 4):
        assert {name: (value.dtype, value.shape) for name, value in batch.items()} == {
            "pixels": (np.uint8, (7, 32, 32, 3)),
            "labels": (np.int8, (7, schema.num_values)),
            "product_id": (object, (7,)),
        }
        for product, codes, image in zip(batch["product_id"], batch["labels"], batch["pixels"]):
            expected, _ = labels.encode(schema, rows[product.decode()])
            assert codes.tolist() == expected.tolist()
            photos = [pixels.from_stored(data, 32, "squeeze").numpy() for data in stored[product]]
            assert any((image == photo).all() for photo in photos)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_gives_every_photo_once_in_the_order_of_the_shards(built, manifest, split: str):
    examples = read_split(built.records, split)
    found = list(dataset.evaluation_batches(built.records, manifest, DATA, split))
    sizes = [len(batch["product_id"]) for batch in found]
    assert sum(sizes) == len(examples) and set(sizes[:-1]) == {7} and sizes[-1] < 7
    products = [p for batch in found for p in batch["product_id"].numpy()]
    assert products == [example["product_id"] for example in examples]
    codes = np.concatenate([batch["labels"] for batch in found])
    np.testing.assert_array_equal(codes, labels_of(examples))


def test_batches_use_the_square_option_of_the_config(built, manifest):
    shapes = []
    for square in ("squeeze", "pad", "crop"):
        data = DATA.model_copy(update={"square": square})
        (first, *_) = dataset.evaluation_batches(built.records, manifest, data, "test")
        shapes.append(first["pixels"].numpy())
    assert (shapes[1][:, :, 0] == 255).all()  # photos are taller than wide: white at the sides
    assert not (shapes[0] == shapes[2]).all()


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_python_runs_in_the_pipeline(built, manifest, split: str):
    if split == "train":
        stream = dataset.training_batches(built.records, manifest, DATA, 0)
    else:
        stream = dataset.evaluation_batches(built.records, manifest, DATA, split)
    graph = tf.compat.v1.GraphDef.FromString(stream._as_serialized_graph().numpy())
    ops = {node.op for node in graph.node}
    ops |= {node.op for function in graph.library.function for node in function.node_def}
    assert {"DecodeJpeg", "ParseExampleV2", "ScaleAndTranslate"} <= ops  # functions are seen
    assert not {op for op in ops if "PyFunc" in op or "Generator" in op}
    assert not any("Random" in op and "Stateless" not in op for op in ops)


# Mistakes


def test_a_batch_larger_than_the_split_is_bad_input(built, manifest):
    photos = manifest.splits["train"].photos
    data = DATA.model_copy(update={"batch_size": photos + 1})
    with pytest.raises(InputError, match=f"batch_size is {photos + 1} .* has {photos} photos"):
        dataset.training_batches(built.records, manifest, data, 0)
    data = DATA.model_copy(update={"batch_size": photos})
    (batch,) = batches(built, manifest, 1, data=data)
    assert len(set(photos_of(batch))) == photos


def test_an_unknown_split_is_bad_input(built, manifest):
    with pytest.raises(InputError, match="there is no split 'tset'; did you mean 'test'"):
        dataset.evaluation_batches(built.records, manifest, DATA, "tset")


# Products of a step


def test_product_ids_of_a_step_equal_those_of_its_batch(built, manifest, steps):
    stream = batches(built, manifest, steps + 3, 4)
    for step in (0, 1, steps - 1, steps, steps + 2):
        found = dataset.product_ids(built.records, manifest, DATA, 4, step)
        assert found == [product.decode() for product in stream[step]["product_id"]]


def test_examples_that_differ_from_their_index_are_bad_input(built):
    manifest = Manifest.read(built.records)
    name = manifest.splits["train"].shards[0].name
    path = str(built.records / name)
    products = index.read_photos(str(built.records), [name])["product_id"].to_pylist()
    raw = [record.numpy() for record in tf.data.TFRecordDataset(path)]
    found = list(dataset.indexed_examples(path, products))
    assert [e.SerializeToString(deterministic=True) for e in found] == raw
    for listed, words in (
        (products[:-1], f"record {len(products) - 1} is not the product"),
        (
            [*products, "more"],
            f"it has {len(products)} records, but its index has {len(products) + 1}",
        ),
        ([products[0], "other", *products[2:]], "record 1 is not the product"),
    ):
        with pytest.raises(InputError, match=words):
            list(dataset.indexed_examples(path, listed))
