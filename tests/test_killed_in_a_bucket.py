"""Programs killed again and again with every path in a bucket: the same results as undisturbed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from attr_extractor import files, storage, working_copy
from attr_extractor.enrichment.fill import predict
from attr_extractor.records.manifest import Manifest
from attr_extractor.serving import model_dir
from tests import buckets
from tests.conftest import Shop, run_tool

pytestmark = pytest.mark.slow
KILLS = {"s3": 3, "gs": 1}  # of a program; what is done after a kill is the same for both
DETERMINISTIC = ["--set=train.deterministic=true", "--set=train.average=0.9"]
FAST = """
from attr_extractor import lease, working_copy
lease.BEAT, lease.LEASE, working_copy.UPLOAD_EVERY = 1.0, 10.0, 0.3
from attr_extractor import cli
cli.main()
"""


@pytest.fixture(scope="module", params=["s3", "gs"])
def shop_in_bucket(request: pytest.FixtureRequest, shop: Shop) -> str:
    """The address of the shop's table, photos, schema and config."""
    address = f"{request.getfixturevalue(request.param)}/killed"
    return buckets.upload_shop(shop.path, address)


def kill_often(output: str, kills: int, verb: str, *flags: str) -> int:
    """Run a program, kill it when files of its output have changed; return the kills."""
    chance, killed = random.Random(0), 0
    while True:
        program, before = buckets.start(FAST, verb, *flags), storage.objects(output)
        wanted = chance.randint(1, 4) if killed < kills else 10**9
        while program.poll() is None:
            changed = storage.objects(output).items() - before.items()
            if sum(not name.startswith(".lock") for name, _ in changed) >= wanted:
                time.sleep(chance.random() * 0.3)
                program.send_signal(signal.SIGSTOP)
                if "manifest.json" in storage.objects(output):  # its records are finished
                    program.send_signal(signal.SIGCONT)
                    wanted = 10**9
                    continue
                program.send_signal(signal.SIGKILL)
                program.wait()
                killed += 1
                break
            time.sleep(0.02)
        else:
            told = program.communicate()[1]
            if program.returncode == 75:  # the killed owner's lock
                assert "is writing to it" in told
                time.sleep(2)
                continue
            if killed and f"{output.removesuffix('.parts')}: exists already" in told:
                return killed  # it was killed after its output was written
            assert program.returncode == 0, told
            return killed


@pytest.fixture(scope="module")
def records(shop_in_bucket: str) -> str:
    address = f"{shop_in_bucket}/records"
    flags = [f"--catalogue={shop_in_bucket}/catalogue.csv", f"--output_dir={address}"]
    flags += [f"--schema={shop_in_bucket}/schema.yaml", "--image_size=64", "--shards=3"]
    flags += ["--split_fractions=0.6,0.2,0.2", "--num_workers=1"]
    assert kill_often(address, KILLS[shop_in_bucket[:2]], "build", *flags) >= 1
    return address


def test_a_killed_build_has_the_same_files(records: str, built: Shop):
    expected = {p.relative_to(built.records).as_posix(): p for p in built.records.rglob("*")}
    expected = {name: path for name, path in expected.items() if path.is_file()}
    assert set(storage.objects(records)) == set(expected)
    for name, path in expected.items():
        if not name.endswith("report.html"):  # it names the folder
            assert storage.read(f"{records}/{name}") == path.read_bytes(), name


@pytest.fixture(scope="module")
def calm(built: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the disk that nothing interrupts."""
    run = tmp_path_factory.mktemp("calm") / "run"
    flags = [f"--config={built.config}", f"--records={built.records}", f"--run_dir={run}"]
    done = run_tool("train", *flags, *DETERMINISTIC)
    assert done.returncode == 0, done.stderr
    return run


def test_a_killed_training_has_the_same_weights(
    shop_in_bucket: str, records: str, calm: Path, shop: Shop, tmp_path: Path
):
    settings = [f"--config={shop_in_bucket}/config.yaml", f"--records={records}"]
    often = f"{shop_in_bucket}/often"
    frequent = [*settings, *DETERMINISTIC, "--set=train.checkpoint_minutes=0.0001"]
    kills = KILLS[shop_in_bucket[:2]]
    assert kill_often(often, kills, "train", *frequent, f"--run_dir={often}") >= 1
    expected = files.read_arrays(calm / "weights.npz")
    found = files.read_arrays(working_copy.file(f"{often}/weights.npz"))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    manifest = Manifest.read(records)
    assert manifest.splits["train"].photos

    models, flags = f"{shop_in_bucket}/models/shop", [f"--run_dir={often}"]
    kill_often(models, 1, "export", *flags, f"--output_dir={models}")
    versions = model_dir.versions(models)
    assert model_dir.load(models).origin == versions[max(versions)]

    filled = f"{shop_in_bucket}/filled.csv"
    flags = [f"--model={models}", f"--catalogue={shop_in_bucket}/catalogue.csv"]
    kill_often(f"{filled}.parts", 1, "predict", *flags, f"--output={filled}")
    predict.predict(models, shop.catalogue, tmp_path / "again.csv")
    assert storage.read(filled) == (tmp_path / "again.csv").read_bytes()
    assert not Path(filled).exists()
