"""Tests of Beam's workers in other processes, which have only the wheel and the bucket."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attr_extractor import storage
from attr_extractor.config import Config
from attr_extractor.enrichment.fill import predict
from attr_extractor.records import builder, plan
from attr_extractor.schema import Schema
from attr_extractor.training import feature_tasks
from tests import beam_cluster, buckets, forked_tools
from tests.conftest import Shop
from tests.records.by_hand import InProcess, contents

pytestmark = pytest.mark.slow
OPTIONS = plan.BuildOptions(image_size=64, shards=24, split_fractions=(0.6, 0.2, 0.2))
SMALL_PARTS = """
from attr_extractor.enrichment.fill import predict
predict.ROWS_PER_PART = 8
from attr_extractor import cli
cli.main()
"""
BOTH = ("pool 0", "pool 1")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("apache_beam", reason="apache_beam is not installed")
    return beam_cluster.install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(params=["s3", "gs"])
def in_bucket(request: pytest.FixtureRequest, shop: Shop) -> str:
    """The address of the shop's table, photos and schema."""
    address = f"{request.getfixturevalue(request.param)}/pools"
    return buckets.upload_shop(shop.path, address)


@pytest.fixture
def cluster(in_bucket: str, programs: Path, tmp_path: Path) -> Iterator[beam_cluster.Cluster]:
    """Two pools, started after the store: their variables name it."""
    pools = [(subprocess.Popen, "127.0.0.1")] * 2
    with beam_cluster.Cluster(tmp_path / "cluster", programs, pools) as started:
        yield started.wait()


def finished(folder: str, ending: str) -> dict[str, storage.Object]:
    """Return the results of finished tasks."""
    return {name: of for name, of in storage.objects(folder).items() if name.endswith(ending)}


def kill_a_pool_in_the_middle(
    cluster: beam_cluster.Cluster,
    program: forked_tools.Program,
    done: Callable[[], int],
    total: int,
) -> None:
    while program.poll() is None:
        if done() > 1:
            for name in BOTH:
                cluster.signal(name, signal.SIGSTOP)
            assert done() < total, "the tasks were too fast"
            cluster.kill("pool 0")
            cluster.signal("pool 1", signal.SIGCONT)
            break
        time.sleep(0.02)
    told = program.communicate()[1]
    assert program.returncode == 75, told
    assert "Traceback" not in told
    (line,) = (line for line in told.splitlines() if line.startswith("error: "))
    assert "a Beam worker was lost" in line and "rerun the command to resume" in line
    cluster.start_pool(0)
    cluster.wait()


def rerun(*command: str) -> None:
    program = buckets.start(SMALL_PARTS, *command)
    told = program.communicate()[1]
    assert program.returncode == 0, told


def test_a_build_goes_on_after_a_pool_was_killed(
    cluster, in_bucket: str, shop: Shop, schema: Schema, tmp_path: Path
):
    records = f"{in_bucket}/records"
    command = ["build", f"--catalogue={in_bucket}/catalogue.csv", f"--output_dir={records}"]
    command += [f"--schema={in_bucket}/schema.yaml", "--image_size=64", "--shards=24"]
    command += ["--split_fractions=0.6,0.2,0.2", *cluster.flags]
    undisturbed = tmp_path / "records"
    builder.build(shop.catalogue, schema, undisturbed, None, OPTIONS, InProcess())
    total = len(list(undisturbed.glob("*.tfrecord")))

    def done() -> int:
        return len(finished(f"{records}/index", ".parquet"))

    kill_a_pool_in_the_middle(cluster, buckets.start(SMALL_PARTS, *command), done, total)
    for pool in BOTH:
        assert (cluster.folder / pool / "log").read_text(errors="replace").count("Starting worker")
    before = finished(records, ".tfrecord")
    summaries = finished(f"{records}/index", ".parquet")
    time.sleep(1)  # a version of S3 is as fine as a second
    rerun(*command)
    after = storage.objects(records)
    not_repeated = [name for name in before if f"{Path(name).stem}.parquet" in summaries]
    assert not_repeated and all(after[name] == before[name] for name in not_repeated)
    expected = contents(undisturbed)
    assert set(after) == set(expected)
    for name in expected.keys() - {"report.html"}:  # it names the folder
        assert storage.read(f"{records}/{name}") == expected[name], name


@pytest.mark.parametrize("in_bucket", ["s3"], indirect=True)
def test_a_prediction_goes_on_after_a_pool_was_killed(
    cluster, in_bucket: str, exported: Shop, tmp_path: Path
):
    model, filled = f"{in_bucket}/model", f"{in_bucket}/filled.csv"
    for name, data in contents(exported.model).items():
        storage.write(f"{model}/{name}", data)
    predict.predict(exported.model, exported.catalogue, tmp_path / "filled.csv")
    command = ["predict", f"--catalogue={in_bucket}/catalogue.csv", f"--model={model}"]
    command += [f"--output={filled}", *cluster.flags]
    rows = len((exported.catalogue).read_text().splitlines()) - 1

    def done() -> int:
        return len(finished(f"{filled}.parts", "counts.json"))

    kill_a_pool_in_the_middle(cluster, buckets.start(SMALL_PARTS, *command), done, -(-rows // 8))
    assert done()
    rerun(*command)
    assert storage.read(filled) == (tmp_path / "filled.csv").read_bytes()
    assert not storage.exists(f"{filled}.parts")


@pytest.mark.parametrize("in_bucket", ["s3"], indirect=True)
def test_features_go_on_after_a_pool_was_killed(
    cluster, in_bucket: str, built: Shop, tmp_path: Path
):
    records = f"{in_bucket}/trained_on"
    settings = ["train.features=positions", "train.feature_views=8"]
    for name, data in contents(built.records).items():
        storage.write(f"{records}/{name}", data)
    alone = Path(shutil.copytree(built.records, tmp_path / "alone"))
    config = Config.read(built.config, settings)
    planned = feature_tasks.compute(config, alone, InProcess())
    command = ["features", f"--config={built.config}", f"--records={records}", *cluster.flags]
    command += [f"--set={setting}" for setting in settings]
    folder = f"{records}/features/{Path(planned.folder).name}"

    def done() -> int:
        return len(finished(folder, ".tfrecord"))

    total = len(planned.missing)
    kill_a_pool_in_the_middle(cluster, buckets.start(SMALL_PARTS, *command), done, total)
    before = finished(folder, ".tfrecord")
    time.sleep(1)  # a version of S3 is as fine as a second
    rerun(*command)
    after = storage.objects(folder)
    assert before.items() <= after.items()
    expected = contents(Path(planned.folder))
    assert set(after) == set(expected)
    assert all(storage.read(f"{folder}/{name}") == data for name, data in expected.items())


@pytest.mark.parametrize("in_bucket", ["s3"], indirect=True)
def test_photos_on_the_disk_of_another_host_are_bad_input(
    cluster, in_bucket: str, shop: Shop, tmp_path: Path
):
    """A folder that the workers do not have must not reject every photo."""
    flags = [f"--catalogue={shop.catalogue}", f"--schema={shop.schema_file}"]
    hidden = tmp_path / "hidden"
    hidden.symlink_to(shop.path)
    flags += [f"--image_root={hidden}", f"--output_dir={in_bucket}/none", *cluster.flags]
    program = buckets.start(SMALL_PARTS, "build", *flags)
    while program.poll() is None and not storage.objects(f"{in_bucket}/none"):
        time.sleep(0.02)
    hidden.unlink()
    told = program.communicate()[1]
    assert program.returncode == 2 and "Traceback" not in told, told
    assert f"error: {hidden}: the image root is not a folder" in told
