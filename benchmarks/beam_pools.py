"""Build records in a bucket with Beam's job service and two worker pools; print time and memory.

The store is moto's, a server of S3 on this machine. Run it from a checkout with the extra `dev`:
  python -m benchmarks.beam_pools --catalogue=CATALOGUE --folder=NEW_FOLDER
  python -m benchmarks.beam_pools --catalogue=CATALOGUE --folder=NEW_FOLDER --rows=1000000
With --rows the table's products are repeated with new ids, so that many products share a photo.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from attr_extractor import storage
from tests import beam_cluster, buckets


def main() -> None:
    """Parse the flags, build and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalogue", type=Path, required=True, help="a folder of `draw`")
    parser.add_argument("--folder", type=Path, required=True, help="for logs and the wheel")
    parser.add_argument("--rows", type=int, default=0, help="rows of the table; 0: as they are")
    parser.add_argument("--flag", action="append", default=[], help="a flag of build, without --")
    asked = parser.parse_args()
    programs = beam_cluster.install(asked.folder / "wheel")
    pools: list[tuple[beam_cluster.Run, str]] = [(subprocess.Popen, "127.0.0.1")] * 2
    with buckets.moto() as (address, _):
        os.environ.update(buckets.environment(address))
        upload(asked.catalogue, asked.rows)
        with beam_cluster.Cluster(asked.folder / "cluster", programs, pools) as cluster:
            cluster.wait()
            command = ["-m", "attr_extractor", "build", "--catalogue=s3://shop/table.parquet"]
            command += ["--schema=s3://shop/schema.yaml", "--output_dir=s3://shop/records"]
            command += [*(f"--{flag}" for flag in asked.flag), *cluster.flags]
            start = time.monotonic()
            launcher = cluster.start("launcher", command, subprocess.Popen)
            peaks: dict[str, int] = {}
            while launcher.poll() is None:
                for name, process in cluster.processes.items():
                    measure(name, process.pid, peaks)
                time.sleep(0.5)
            seconds = time.monotonic() - start
            print((asked.folder / "cluster" / "launcher" / "log").read_text()[-1500:])
            print(f"exit code {launcher.returncode}, {seconds:.0f} s")
            for name, kib in peaks.items():
                print(f"{name}: {kib / 2**10:.0f} MiB")


def upload(catalogue: Path, rows: int) -> None:
    """Upload the photos, the schema and the table, repeated to a number of rows."""
    bucket, name = storage.file_system("s3://shop")
    bucket.mkdir(name)
    table = pd.read_csv(catalogue / "catalogue.csv", dtype=str, keep_default_na=False)
    if rows:
        table = table.iloc[np.arange(rows) % len(table)].reset_index(drop=True)
        table["product_id"] += "-" + table.index.astype(str)
    storage.write("s3://shop/table.parquet", table.to_parquet())
    storage.write("s3://shop/schema.yaml", (catalogue / "schema.yaml").read_bytes())

    def put(photo: Path) -> None:
        storage.write(f"s3://shop/{photo.relative_to(catalogue)}", photo.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        photos = list((catalogue / "images").iterdir())
        list(pool.map(put, photos))
    print(f"{len(table):,} rows, {len(photos):,} photos")


def measure(name: str, pid: int, peaks: dict[str, int]) -> None:
    """Update the peak memory, in KiB, of a process and of the largest that it started."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # of a process that has just ended
            if os.getpgid(int(path.name)) != pid:  # every process of a cluster leads a group
                continue
            of = name if int(path.name) == pid else f"worker of {name}"
            for line in (path / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peaks[of] = max(peaks.get(of, 0), int(line.split()[1]))


if __name__ == "__main__":
    main()
