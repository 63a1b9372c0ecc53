"""A build with the store and the launcher on one host, and pools of Beam's workers on another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from attr_extractor.records import builder, plan
from attr_extractor.schema import Schema
from tests import beam_cluster
from tests.buckets import free_port
from tests.conftest import ROOT, Shop
from tests.records.by_hand import InProcess, contents

pytestmark = pytest.mark.slow
COPY = """
import sys
from pathlib import Path
from attr_extractor import storage
what, folder, address = sys.argv[1:]
if what == "upload":
    fs, bucket = storage.file_system("s3://hosts")
    fs.mkdir(bucket)
    # other tests may have built the shop's own records in that folder
    for path in [*Path(folder).glob("*.*"), *Path(folder, "images").iterdir()]:
        storage.write(f"{address}/{path.relative_to(folder)}", path.read_bytes())
else:
    for name in storage.objects(address):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(storage.read(f"{address}/{name}"))
"""


def test_pools_on_another_host_build_the_same_records(
    hosts, shop: Shop, schema: Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("apache_beam", reason="apache_beam is not installed")
    pytest.importorskip("moto.server")
    here, there = hosts
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{here.address}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    programs = beam_cluster.install(tmp_path / "wheel")

    def run(*arguments: str) -> None:
        command = [sys.executable, *arguments]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        program = here.run(command, env=env, stderr=subprocess.PIPE, text=True)
        told = program.communicate()[1]
        assert program.returncode == 0, told

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    here.run([sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", str(port)], **quiet)
    run("-c", beam_cluster.CONNECT, str(port))
    run("-c", COPY, "upload", str(shop.path), "s3://hosts")
    pools = [(there.run, there.name)] * 2
    with beam_cluster.Cluster(tmp_path / "cluster", programs, pools, here.run) as cluster:
        cluster.wait()
        command = ["-m", "attr_extractor", "build", "--catalogue=s3://hosts/catalogue.csv"]
        command += ["--schema=s3://hosts/schema.yaml", "--output_dir=s3://hosts/records"]
        command += ["--image_size=64", "--shards=3", "--split_fractions=0.6,0.2,0.2"]
        run(*command, *cluster.flags)
    run("-c", COPY, "download", str(tmp_path / "found"), "s3://hosts/records")
    undisturbed = tmp_path / "records"
    options = plan.BuildOptions(image_size=64, shards=3, split_fractions=(0.6, 0.2, 0.2))
    builder.build(shop.catalogue, schema, undisturbed, None, options, InProcess())
    found, expected = contents(tmp_path / "found"), contents(undisturbed)
    assert found.keys() == expected.keys()
    for name in expected.keys() - {"report.html"}:  # it names the folder
        assert found[name] == expected[name], name
    for pool in ("pool 0", "pool 1"):
        log = (tmp_path / "cluster" / pool / "log").read_text(errors="replace")
        assert here.name in log  # the job service is reached by the name of its host
