"""Train every row of a table of overrides on several catalogues and score it on validation photos.

Rerun the command to resume: finished rows are kept, an interrupted training continues.

Example:
  attr-extractor sweep --config=pretrained --rows=configs/sweeps/pretrained.yaml \
      --records=shop=shop/records --records=other=other/records --seeds=0,1 --output_dir=sweep
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.evaluation import sweep

F = flags.FLAGS
flags.DEFINE_string("config", None, "Base config that the rows override (YAML).", required=True)
flags.DEFINE_string("rows", None, "YAML: rows: {NAME: [section.key=value, ...]}.", required=True)
flags.DEFINE_multi_string("records", [], "NAME=FOLDER of attr-extractor build; repeatable.")
flags.DEFINE_list("seeds", "0,1", "Seeds; each row is trained once with each.")
flags.DEFINE_string("output_dir", None, "Folder for rows.jsonl and the runs.", required=True)


def main() -> None:
    if not F.records or not all("=" in each for each in F.records):
        raise errors.InputError("--records: write NAME=FOLDER, at least once")
    if not all(seed.isdigit() for seed in F.seeds):
        raise errors.InputError(f"--seeds: {','.join(F.seeds)}: write non-negative integers")
    catalogues = dict(each.split("=", 1) for each in F.records)
    seeds = [int(seed) for seed in F.seeds]
    print(sweep.sweep(F.config, F.rows, catalogues, seeds, F.output_dir))
