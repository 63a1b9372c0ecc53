"""Train every row of a table of overrides on several catalogues and score it on validation photos.

An interrupted sweep goes on: rows that are measured are kept, a half-trained one is resumed.

Example:
  python tools/sweep.py --config=configs/pretrained.yaml --rows=configs/sweeps/pretrained.yaml \
      --records=shop=shop/records --records=other=other/records --seeds=0,1 --output_dir=sweep
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.evaluation import sweep

F = flags.FLAGS
flags.DEFINE_string("config", None, "The experiment that the rows change: YAML.", required=True)
flags.DEFINE_string("rows", None, "YAML: rows: {NAME: [section.key=value, ...]}.", required=True)
flags.DEFINE_multi_string("records", [], "NAME=FOLDER of build_tfrecords.py; repeatable.")
flags.DEFINE_list("seeds", "0,1", "A training of each row by each of them.")
flags.DEFINE_string("output_dir", None, "For rows.jsonl and the runs.", required=True)


def main() -> None:
    if not F.records or not all("=" in each for each in F.records):
        raise errors.InputError("--records: write NAME=FOLDER, at least once")
    if not all(seed.isdigit() for seed in F.seeds):
        raise errors.InputError(f"--seeds: {','.join(F.seeds)}: whole numbers are needed")
    catalogues = dict(each.split("=", 1) for each in F.records)
    seeds = [int(seed) for seed in F.seeds]
    print(sweep.sweep(F.config, F.rows, catalogues, seeds, F.output_dir))


if __name__ == "__main__":
    errors.run_program(main)
