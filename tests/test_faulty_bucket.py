"""Tests of stores that fail: nothing is lost if they fail sometimes, one line if they refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from attr_extractor import files, storage, working_copy
from attr_extractor.enrichment.fill import predict
from tests import buckets, forked_tools
from tests.conftest import ROOT, Shop

pytestmark = pytest.mark.slow
PROGRAM = "from attr_extractor import cli; cli.main()"
VARIABLES = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}


def run(verb: str, *flags: str, **environment: str) -> subprocess.CompletedProcess:
    return forked_tools.run(PROGRAM, [verb, *flags], ROOT, {**os.environ, **environment})


def finish(verb: str, *flags: str, **environment: str) -> None:
    result = run(verb, *flags, **environment)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module", params=["s3", "gs"])
def faulty(request: pytest.FixtureRequest, shop: Shop) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of the shop, and the environment to reach it through a proxy that fails."""
    address = f"{request.getfixturevalue(request.param)}/faulty"
    buckets.upload_shop(shop.path, address)
    with proxied(VARIABLES[request.param]) as environment:
        yield address, environment


@contextmanager
def proxied(variable: str, *refused: str) -> Iterator[dict[str, str]]:
    """Start fault_proxy.py before a store; yield the environment to reach the store through it."""
    proxy = f"http://127.0.0.1:{buckets.free_port()}"
    command = [sys.executable, str(ROOT / "tests" / "fault_proxy.py"), proxy.rpartition(":")[2]]
    process = subprocess.Popen([*command, os.environ[variable], *refused])
    try:
        buckets.wait_for(proxy, process)
        yield {variable: proxy}
    finally:
        process.kill()
        process.wait()


def test_a_store_that_fails_sometimes_loses_nothing(
    faulty, built: Shop, trained: Shop, tmp_path: Path
):
    address, through = faulty
    records, run_dir = f"{address}/records", f"{address}/run"
    flags = [f"--catalogue={address}/catalogue.csv", f"--output_dir={records}", "--image_size=64"]
    flags += [f"--schema={address}/schema.yaml", "--shards=3", "--split_fractions=0.6,0.2,0.2"]
    finish("build", *flags, "--num_workers=1", **through)
    for path in built.records.glob("*.tfrecord"):
        assert storage.read(f"{records}/{path.name}") == path.read_bytes()
    config = f"--config={address}/config.yaml"
    finish("train", config, f"--records={records}", f"--run_dir={run_dir}", **through)
    found = files.read_arrays(working_copy.file(f"{run_dir}/weights.npz"))
    for name, array in files.read_arrays(trained.run / "weights.npz").items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    finish("export", f"--run_dir={run_dir}", f"--output_dir={address}/models/shop", **through)
    model, filled = f"{address}/models/shop", f"{address}/filled.csv"
    flags = [f"--model={model}", f"--catalogue={address}/catalogue.csv", f"--output={filled}"]
    finish("predict", *flags, **through)
    predict.predict(model, built.catalogue, tmp_path / "filled.csv")
    assert storage.read(filled) == (tmp_path / "filled.csv").read_bytes()


def test_missing_or_refused_credentials_are_one_line(s3: str, tmp_path: Path, shop: Shop):
    settings = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    settings["AWS_EC2_METADATA_DISABLED"] = "true"
    flags = [f"--catalogue={s3}/faulty/catalogue.csv", f"--output={tmp_path / 'schema.yaml'}"]
    require_one_line(run("infer", *flags, **settings), "catalogue.csv: cannot be read")
    flags = [f"--catalogue={shop.catalogue}", f"--output={s3}/schema.yaml"]
    require_one_line(run("infer", *flags, **settings), f"{s3}/schema.yaml: cannot be read")


@pytest.fixture(scope="module")
def guarded(shop: Shop) -> Iterator[dict[str, str]]:
    """A server of S3 that checks keys; the environment of a user who may only read."""
    boto3 = pytest.importorskip("boto3")
    with buckets.moto() as (address, _):
        with mock.patch.dict(os.environ, buckets.environment(address)):
            s3, iam = (boto3.client(name) for name in ("s3", "iam"))
            s3.create_bucket(Bucket="guarded")
            # not by s3fs, which keeps the address of another server of this process
            for path in [*shop.path.glob("*.*"), *(shop.path / "images").iterdir()]:
                name = path.relative_to(shop.path).as_posix()
                s3.put_object(Bucket="guarded", Key=name, Body=path.read_bytes())
            iam.create_user(UserName="reader")
            actions = ["s3:Get*", "s3:Head*", "s3:List*"]
            allow = {"Effect": "Allow", "Action": actions, "Resource": "*"}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
            iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
            key = iam.create_access_key(UserName="reader")["AccessKey"]
        # from here on, moto checks every request
        kind = {"Content-Type": "text/plain"}
        now = urllib.request.Request(f"{address}/moto-api/reset-auth", b"0", kind)
        urllib.request.urlopen(now, timeout=30).close()
        yield buckets.environment(address, key["AccessKeyId"], key["SecretAccessKey"])


def test_a_key_that_may_only_read_reads_and_does_not_write(guarded, tmp_path: Path, built: Shop):
    there = "s3://guarded"
    flags = [f"--catalogue={there}/catalogue.csv", f"--output={tmp_path / 'schema.yaml'}"]
    finish("infer", *flags, **guarded)
    flags = [f"--catalogue={there}/catalogue.csv", f"--schema={there}/schema.yaml"]
    result = run("build", *flags, f"--output_dir={there}/records", **guarded)
    require_one_line(result, f"{there}/records", "cannot be written")
    run_dir = f"--run_dir={there}/run"
    records = f"--records={built.records}"
    result = run("train", f"--config={there}/config.yaml", records, run_dir, **guarded)
    require_one_line(result, f"{there}/run", "cannot be written")
    result = run("infer", flags[0], f"--output={there}/inferred.yaml", **guarded)
    require_one_line(result, f"{there}/inferred.yaml: cannot be written")


def test_a_refusal_of_googles_store_is_one_line(gs: str, tmp_path: Path, shop: Shop):
    storage.write(f"{gs}/refused/catalogue.csv", shop.catalogue.read_bytes())
    flags = [f"--catalogue={gs}/refused/catalogue.csv", f"--output={gs}/refused/schema.yaml"]
    for status in ("401", "403"):
        with proxied("STORAGE_EMULATOR_HOST", status, "POST", "PUT") as environment:
            result = run("infer", *flags, **environment)
            require_one_line(result, "refused/schema.yaml: cannot be written")
        with proxied("STORAGE_EMULATOR_HOST", status, "GET") as environment:
            result = run("infer", *flags, **environment)
            require_one_line(result, f"{gs}/refused/", "cannot be read")


def test_a_wrong_key_is_one_line(guarded, tmp_path: Path):
    flags = ["--catalogue=s3://guarded/catalogue.csv", f"--output={tmp_path / 'schema.yaml'}"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        result = run("infer", *flags, **{**guarded, name: "wrong"})
        require_one_line(result, "s3://guarded/catalogue.csv: cannot be read")


def test_a_store_that_cannot_be_reached_is_one_line(s3: str, gs: str, tmp_path: Path):
    nowhere = f"http://127.0.0.1:{buckets.free_port()}"

    def ask(bucket: str, variable: str) -> subprocess.CompletedProcess:
        flags = [f"--catalogue={bucket}/catalogue.csv", f"--output={tmp_path / 'schema.yaml'}"]
        return run("infer", *flags, **{variable: nowhere})

    stores = ((s3, "AWS_ENDPOINT_URL"), (gs, "STORAGE_EMULATOR_HOST"))
    with ThreadPoolExecutor() as pool:  # each tries again for a long time
        for (bucket, _), result in zip(stores, pool.map(lambda store: ask(*store), stores)):
            require_one_line(result, f"{bucket}/catalogue.csv: cannot be read")


def require_one_line(result: subprocess.CompletedProcess, *words: str) -> None:
    assert result.returncode in (2, 75), result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.strip()]
    assert line.startswith("error: ")
    for word in words:
        assert word in line
