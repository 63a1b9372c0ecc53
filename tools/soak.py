"""Runs serve.py under mixed load with a new version every minute: failures, latency, memory.

Example:
  python tools/soak.py --model=shop/models/shop --photos=shop/images --minutes=15
"""

import sys

from absl import flags

from attr_extractor import errors

F = flags.FLAGS
flags.DEFINE_string("model", None, "Folder of version folders.", required=True)
flags.DEFINE_string("photos", None, "Folder with 64 JPEG files or more.", required=True)
flags.DEFINE_float("minutes", 2.0, "Under load.", 0.05)
flags.DEFINE_float("swap_seconds", 60.0, "Between versions.", 1.0)
flags.DEFINE_integer("clients", 4, "That ask for one photo at a time.", 1)


def main() -> None:
    with errors.extra("serving"):
        from attr_extractor.serving import measure_serve
    text, failed = measure_serve.report(F.model, F.photos, F.minutes, F.swap_seconds, F.clients)
    print(text)
    sys.exit(failed > 0)


if __name__ == "__main__":
    errors.run_program(main)
