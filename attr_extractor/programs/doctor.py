"""Show what this machine has and lacks: packages, extras, GPU, disk, memory, CPU instructions.

Exit code 1 if something that every program needs is broken.
Example:
  attr-extractor doctor
"""

import sys

from attr_extractor import doctor


def main() -> None:
    broken = False
    for check in doctor.examine():
        broken |= check.is_broken
        print(f"{'BROKEN' if check.is_broken else '':7}{check.name:18}{check.found}", flush=True)
    if broken:
        sys.exit(1)
