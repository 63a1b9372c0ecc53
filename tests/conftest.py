"""Fixtures of all tests: a small schema, a drawn shop, its records, and one short training run.

The shop's photos are coloured shapes: big enough to learn from in seconds, small enough to read.
"""

from __future__ import annotations

import contextlib
import csv
import os
import resource
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from attr_extractor.schema import Schema
from tests import forked_tools
from tests.buckets import bucket, gs, s3  # noqa: F401
from tests.two_hosts import hosts  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]

SCHEMA = """
name: shop
category: category
missing_values: [NA]
attributes:
  - name: category
    values: [shirt, jeans]
  - name: neck_type
    applies_to: [shirt]
    values: [v-neck, round neck, no neck]
    synonyms: {v neck: v-neck}
  - name: color
    exclusive: false
    values: [red, green, blue]
  - name: closure
    values_by_category: {jeans: [button, zip]}
    values: [button, zip, drawstring]
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of slow tests: at the end, no process waits long for another's file."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@dataclass(frozen=True)
class Shop:
    """Folders created once per session; tests must not write to them."""

    path: Path

    catalogue = property(lambda self: self.path / "catalogue.csv")
    schema_file = property(lambda self: self.path / "schema.yaml")
    records = property(lambda self: self.path / "records")
    run = property(lambda self: self.path / "run")
    model = property(lambda self: self.path / "model")
    config = property(lambda self: self.path / "config.yaml")


def run_tool(name: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a program of tools/ in a process of its own."""
    return forked_tools.run(ROOT / "tools" / f"{name}.py", list(map(str, arguments)), ROOT)


def require_bad_input(result: subprocess.CompletedProcess, *words: str) -> None:
    """Require exit code 2 and one error line that contains `words`; no traceback."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Simulate a full disk: limit the size of every file, also in new child processes, in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def draw_photo(path: Path, category: str, colors: list[str], neck: str, size: int = 72) -> None:
    """Draw a shirt as a wide shape with a neck, jeans as two legs, in stripes of the colours."""
    image = Image.new("RGB", (size, size + 12), "white")
    draw = ImageDraw.Draw(image)
    boxes = [(12, 12, 60, 72)] if category == "shirt" else [(14, 8, 32, 78), (40, 8, 58, 78)]
    for box in boxes:
        for i in range(box[1], box[3], 6):
            color = colors[(i // 6) % len(colors)]
            draw.rectangle((box[0], i, box[2], min(i + 6, box[3])), fill=color)
    if category == "shirt" and neck == "v-neck":
        draw.polygon([(24, 12), (48, 12), (36, 40)], fill="white")
    if category == "shirt" and neck == "round neck":
        draw.ellipse((24, 0, 48, 26), fill="white")
    image.save(path, quality=92)


def times_of_change(paths: Iterable[Path], process: forked_tools.Program) -> dict[Path, int]:
    """Wait for a process; return when each file was last changed, as long as it existed."""
    times: dict[Path, int] = {}
    while process.poll() is None:
        for path in paths:
            try:
                times[path] = path.stat().st_mtime_ns
            except FileNotFoundError:
                break
        time.sleep(0.01)
    return times


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write a CSV with the columns of the first row."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def shop_rows(folder: Path, count: int) -> list[dict[str, str]]:
    """Draw photos and return rows; 1 in 7 colour cells is empty, 1 in 10 products has 2 photos."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(count):
        category = ("shirt", "jeans")[i % 2]
        colors = [("red", "green", "blue")[i % 3]] + (
            [("green", "blue", "red")[i % 3]] * (i % 5 == 0)
        )
        neck = ("v-neck", "round neck", "no neck")[(i // 2) % 3] if category == "shirt" else ""
        names = [f"images/{i:03d}_{k}.jpg" for k in range(2 if i % 10 == 0 else 1)]
        for k, name in enumerate(names):
            draw_photo(folder / name, category, colors, neck, size=72 + i % 8 + 8 * k)
        rows.append(
            {
                "product_id": f"p{i:03d}",
                "image": "|".join(names),
                "category": category,
                "neck_type": neck,
                "color": "" if i % 7 == 0 else "|".join(colors),
                "closure": ("button", "zip")[i % 2],
            }
        )
    return rows


CONFIG = """
name: test
data: {image_size: 32, batch_size: 8, shuffle_buffer: 64}
augmentation: {zoom: 0.05, shift: 0.05, rotation: 5, shear: 3, flip: 0.5, mixup: 0, cutmix: 0}
model:
  trunk: small_cnn
  weights: none
  attention: {num_heads: 8, key_dim: 4, feed_forward_dim: 32}
  hidden: [8, 8]
  prior_bias: true
  batch_norm_momentum: 0.8
  fuse_stages: 1
  dropout: 0
train:
  epochs: 3
  learning_rate: 2e-3
  trunk_rate: 1
  warmup_epochs: 0.5
  weight_decay: 0
  average: 0
  keep: best
  precision: float32
"""


@pytest.fixture(scope="session")
def schema() -> Schema:
    return Schema.parse(SCHEMA, "test")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Table, photos, schema and config."""
    made = Shop(tmp_path_factory.mktemp("shop"))
    write_table(made.catalogue, shop_rows(made.path, 120))
    made.schema_file.write_text(SCHEMA, encoding="utf-8")
    made.config.write_text(CONFIG, encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def built(shop: Shop) -> Shop:
    """The shop with records."""
    from attr_extractor.records import builder, plan
    from tests.records.by_hand import InProcess

    builder.build(
        shop.catalogue,
        Schema.read(shop.schema_file),
        shop.records,
        options=plan.BuildOptions(image_size=64, shards=3, split_fractions=(0.6, 0.2, 0.2)),
        runner=InProcess(),  # another process would have to load TensorFlow again
    )
    return shop


@pytest.fixture(scope="session")
def trained(built: Shop) -> Shop:
    """The shop with records and a trained run."""
    from attr_extractor.config import Config
    from attr_extractor.training import fit

    fit.train(Config.read(built.config), built.records, built.run)
    return built


@pytest.fixture(scope="session")
def exported(trained: Shop) -> Shop:
    """The shop with an exported model."""
    from attr_extractor.serving import export

    export.export(trained.run, trained.model)
    return trained


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real catalogues, beside the checkout or in $DATA; skip without it."""
    path = Path(os.environ.get("DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("real catalogues are not on this machine: name their folder in $DATA")
    return path
