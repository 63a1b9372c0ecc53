"""Claims about `benchmarks/input_pipeline.py`: each row is what it says, the last line is right."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError
from attr_extractor.records import dataset, pixels
from attr_extractor.records.manifest import Manifest
from benchmarks import input_pipeline
from benchmarks.input_pipeline import Row
from tests.conftest import Shop, require_bad_input, run_tool
from tests.records.by_hand import read_split

DATA = DataConfig(image_size=32, batch_size=8, shuffle_buffer=64)
PLAIN, KERAS = "plain tf.data recipe", "Keras image_dataset_from_directory"


@pytest.fixture(scope="module")
def rows(built: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """Every row's first batches, more than an epoch of them."""
    folder = tmp_path_factory.mktemp("files")
    found = input_pipeline.pipelines(built.records, DATA, 1000, 0, folder)
    count = Manifest.read(built.records).splits["train"].photos // 8 + 5
    rows = {
        name: list(islice(endless.as_numpy_iterator(), count)) for name, endless in found.items()
    }
    assert all(len(batches) == count for batches in rows.values())  # endless
    return rows


@pytest.fixture(scope="module")
def stored(built: Shop) -> list[bytes]:
    return [photo["image/encoded"] for photo in read_split(built.records, "train")]


def counted(photos: list[np.ndarray]) -> Counter:
    return Counter(photo.tobytes() for photo in photos)


def test_bare_decoding_makes_the_pixels_of_step_b_of_every_photo_in_turn(rows, stored):
    found = np.concatenate(rows["bare decoding"])[: len(stored)]
    expected = [pixels.from_stored(photo, 32, "squeeze").numpy() for photo in stored]
    assert found.tobytes() == np.array(expected).tobytes()


def test_the_pipeline_is_that_of_training_and_its_twin_only_lacks_labels(rows, built):
    manifest = Manifest.read(built.records)
    middle = manifest.splits["train"].photos // 8 // 2
    stream = dataset.training_batches(built.records, manifest, DATA, 0, middle)
    expected = islice(stream.as_numpy_iterator(), len(rows["this pipeline"]))
    for batch, images, same in zip(
        rows["this pipeline"], rows["this pipeline without labels"], expected
    ):
        assert batch.keys() == same.keys()
        assert batch["pixels"].tobytes() == same["pixels"].tobytes() == images.tobytes()
        assert batch["labels"].tobytes() == same["labels"].tobytes()


def test_reading_alone_gives_undecoded_records(rows, stored):
    some = np.concatenate(rows["reading alone"])[: len(stored)]
    assert all(photo in record for record, photo in zip(some, stored))


def test_the_usual_recipes_give_batches_of_the_same_size_in_float(rows):
    photos, labels = rows[PLAIN][0]
    assert photos.shape == (8, 32, 32, 3) and photos.dtype == np.float32 and photos.max() > 1
    assert labels.dtype == np.int8 and len(labels) == 8
    assert rows[KERAS][0].shape == (8, 32, 32, 3) and rows[KERAS][0].dtype == np.float32


def test_files_hold_the_bytes_of_the_photos_and_no_more_than_asked_for(built, stored, tmp_path):
    input_pipeline.pipelines(built.records, DATA, 2, 0, tmp_path)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == stored[:16]


def test_every_row_is_measured_and_bare_decoding_is_the_measure(built):
    found = input_pipeline.measure(built.records, DATA, steps=2, rounds=2)
    assert [row.name for row in found] == [
        "bare decoding",
        "this pipeline",
        "this pipeline without labels",
        "reading alone",
        PLAIN,
        KERAS,
    ]
    assert found[0].of_bare == 1
    assert all(row.images_per_second > 0 and row.cpu_ms > 0 for row in found)


def test_a_ratio_is_the_median_over_rounds(built, monkeypatch):
    bare_and_ours = [[(1, 4), (2, 4)], [(3, 5), (30, 5)], [(2, 8), (2.5, 9)]]  # wall and CPU
    seconds = iter([row for turn in bare_and_ours for row in [*turn, *[(1, 1)] * 4]])
    monkeypatch.setattr(input_pipeline, "_time", lambda *_: next(seconds))
    bare, ours, *_ = input_pipeline.measure(built.records, DATA, steps=10, rounds=3)
    assert bare == Row("bare decoding", 80 / 2, 1, 1000 * 5 / 80)
    assert ours == Row("this pipeline", 80 / 2.5, 0.5, 1000 * 5 / 80)  # of 0.5, 0.1 and 0.8


@pytest.mark.parametrize(
    ("ours", "reading", "bottleneck"),
    [
        (950, 50_000, "decoding and resizing the photos"),
        (700, 50_000, "overhead of this pipeline beyond decoding"),
        (700, 900, "reading the shards"),
    ],
)
def test_the_last_line_names_the_bottleneck(ours: int, reading: int, bottleneck: str):
    speeds = {
        "bare decoding": 1000,
        "this pipeline": ours,
        "this pipeline without labels": 1000,
        "reading alone": reading,
        PLAIN: 1234,
    }
    text = input_pipeline.table(
        Row(name, speed, speed / 1000, 0.48 if "without" in name else 0.5)
        for name, speed in speeds.items()
    )
    last = text.splitlines()[-1]
    assert last.startswith(f"bottleneck: {bottleneck}; ")
    assert f"delivers {ours / 10:.1f}% of bare" in last
    assert last.endswith("labels cost 4.0% CPU time")
    (plain,) = (line for line in text.splitlines() if line.startswith(PLAIN))
    assert plain.split()[-3:] == ["1,234", "123.4%", "0.500"]


def test_less_than_a_batch_of_photos_is_bad_input(built, tmp_path):
    data = DATA.model_copy(update={"batch_size": 1000})
    with pytest.raises(InputError, match=r"data\.batch_size is 1000"):
        input_pipeline.pipelines(built.records, data, 1, 0, tmp_path)


def test_the_program_prints_the_table(built):
    some = ["--set=data.batch_size=8", "--set=data.image_size=32", "--set=train.image_sizes={}"]
    result = run_tool("bench", "--what=input", f"--records={built.records}", "--count=2", *some)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[1].startswith("bare decoding") and "100.0%" in lines[1]
    assert lines[-1].startswith("bottleneck: ")


def test_a_folder_without_records_is_bad_input(tmp_path):
    result = run_tool("bench", "--what=input", f"--records={tmp_path}")
    require_bad_input(result, str(tmp_path), "not a folder of records")
