"""Run all steps on a drawn catalogue: draw, build, train, export, predict, evaluate.

Example:
  attr-extractor demo --output_dir=demo_output
"""

import shlex
import subprocess
import sys
from pathlib import Path

from absl import flags

from attr_extractor import working_copy

F = flags.FLAGS
flags.DEFINE_string("output_dir", "demo_output", "A new folder for all results.")
flags.DEFINE_integer("num_products", 4000, "Number of products to draw.", lower_bound=100)
flags.DEFINE_multi_string("set", [], "section.key=value, overrides the config; repeatable.")


def main() -> None:
    with working_copy.new(F.output_dir, "the output folder") as folder:
        for command in commands(folder, F.num_products, F.set):
            print(f"\nattr-extractor {shlex.join(command)}", flush=True)
            result = subprocess.run([sys.executable, "-m", "attr_extractor", *command], check=False)
            if result.returncode:
                sys.exit(result.returncode)
    print(
        f"report: {folder}/run/report.html   SavedModel: {folder}/model/1   "
        f"filled table: {folder}/filled.csv"
    )


def commands(folder: Path, num_products: int, overrides: list[str]) -> list[list[str]]:
    """Return the arguments of each step."""
    catalogue = f"--catalogue={folder}/catalogue/catalogue.csv"
    records, run, model = (
        f"--records={folder}/records",
        f"--run_dir={folder}/run",
        f"{folder}/model",
    )
    split = "--split_fractions=0.75,0.05,0.2"
    return [
        ["draw", f"--output_dir={folder}/catalogue", f"--num_products={num_products}"],
        [
            "build",
            catalogue,
            f"--schema={folder}/catalogue/schema.yaml",
            f"--output_dir={folder}/records",
            "--image_size=128",
            split,
        ],
        ["train", "--config=demo", records, run, *(f"--set={each}" for each in overrides)],
        ["export", run, f"--output_dir={model}"],
        ["predict", f"--model={model}", catalogue, f"--output={folder}/filled.csv"],
        ["evaluate", run],
    ]
