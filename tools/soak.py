"""Load-test serve.py, with a new version every minute: failures, latency, memory.

With --hostile, attacking connections run alongside the regular clients.

Example:
  python tools/soak.py --model=shop/models/shop --photos=shop/images --minutes=15
"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not installed

from attr_extractor import errors

F = flags.FLAGS
flags.DEFINE_string("model", None, "Model folder with version subfolders.", required=True)
flags.DEFINE_string("photos", None, "Folder with at least 64 JPEG files.", required=True)
flags.DEFINE_float("minutes", 2.0, "Duration of the load.", 0.05)
flags.DEFINE_float("swap_seconds", 60.0, "Seconds between new versions.", 1.0)
flags.DEFINE_integer("clients", 4, "Clients that send one photo at a time.", 1)
flags.DEFINE_integer("hostile", 0, "Attacking connections, after a quiet first third.", 0)
flags.DEFINE_multi_string("attack", [], "One of hostile.ATTACKS; repeatable. Default: all in turn.")


def main() -> None:
    with errors.extra("serving"), errors.from_checkout():
        from benchmarks import soak
    text, failed = soak.report(
        *(F.model, F.photos, F.minutes, F.swap_seconds, F.clients, F.hostile, F.attack)
    )
    print(text)
    sys.exit(failed > 0)


if __name__ == "__main__":
    errors.run_program(main)
