"""Verify every byte of finished records against the manifest and the index of each shard.

Exit code 0: intact; 1: damaged, with each damaged shard and record listed; 2: no records found.
Example:
  attr-extractor check --records=shop/records --num_workers=8
"""

import sys

from absl import flags

from attr_extractor.records import check

F = flags.FLAGS
flags.DEFINE_string("records", None, "Records folder of attr-extractor build.", required=True)
flags.DEFINE_integer("num_workers", 2, "Number of processes.", lower_bound=1)


def main() -> None:
    report = check.check(F.records, F.num_workers)
    print(report)
    if report.problems:
        sys.exit(1)
