"""Reads every byte of finished records: is each shard what the manifest and its index say?

Exit code 0: whole; 1: broken, and every broken shard and record is named; 2: no records there.
Example:
  python tools/check_records.py --records=shop/records --num_workers=8
"""

import sys

from absl import flags

from attr_extractor import errors
from attr_extractor.records import check

F = flags.FLAGS
flags.DEFINE_string("records", None, "The folder of build_tfrecords.py.", required=True)
flags.DEFINE_integer("num_workers", 2, "Processes.", lower_bound=1)


def main() -> None:
    report = check.check(F.records, F.num_workers)
    print(report)
    if report.problems:
        sys.exit(1)


if __name__ == "__main__":
    errors.run_program(main)
