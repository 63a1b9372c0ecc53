r"""Compile the pipeline from a catalogue to a served model for Kubeflow Pipelines or Vertex AI.

Each step runs `attr-extractor VERB` in a container of train.Dockerfile's image; folders are passed
as artifacts. A step works on its own disk and copies the finished folder to its artifact: a bucket
that is mounted as a folder, as on Vertex AI, does not rename folders by default.

Example:
  python deploy/pipeline.py --output=pipeline.yaml --image=registry/attr-extractor-train:1 \
      --accelerator=nvidia.com/gpu
"""

# no `from __future__ import annotations`: kfp reads the annotations of components as types
import functools
from pathlib import Path
from typing import List

from absl import flags

from attr_extractor import errors

try:
    from kfp import compiler, dsl
    from kfp.dsl import Artifact, Input, Output
except ModuleNotFoundError as error:
    hint = "pip install 'attr-extractor[pipeline]', with a Python before 3.12"
    errors.fail(f"{error.name} is not installed: {hint}")

F = flags.FLAGS
flags.DEFINE_string("output", None, "Compiled pipeline: a .yaml file.", required=True)
flags.DEFINE_string("image", None, "Container image of all steps.", required=True)
flags.DEFINE_string(
    "accelerator", "", "Accelerator of the training step, e.g. nvidia.com/gpu or NVIDIA_L4."
)

# the image has the package and kfp, and replaces this base image
step = functools.partial(dsl.component, base_image="python:3.11", install_kfp_package=False)


@step
def build(catalogue: str, schema: str, flags: List[str], records: Output[Artifact]) -> None:
    """Convert table and photos into records."""
    import shutil
    import subprocess
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as disk:
        command = [sys.executable, "-m", "attr_extractor", "build", f"--output_dir={disk}/records"]
        command += [f"--catalogue={catalogue}", f"--schema={schema}", *flags]
        subprocess.run(command, check=True)
        shutil.copytree(f"{disk}/records", records.path, dirs_exist_ok=True)


@step
def check(records: Input[Artifact]) -> None:
    """Verify every byte of the records."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "attr_extractor", "check", f"--records={records.path}"]
    subprocess.run(command, check=True)


@step
def train(config: str, flags: List[str], records: Input[Artifact], run: Output[Artifact]) -> None:
    """Train a network on the records."""
    import shutil
    import subprocess
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as disk:
        command = [sys.executable, "-m", "attr_extractor", "train", f"--run_dir={disk}/run"]
        command += [f"--config={config}", f"--records={records.path}", *flags]
        subprocess.run(command, check=True)
        shutil.copytree(f"{disk}/run", run.path, dirs_exist_ok=True)


@step
def evaluate(
    require: str, records: Input[Artifact], trained: Input[Artifact], run: Output[Artifact]
) -> None:
    """Score the run on its test split; fail if it does not meet the requirements.

    The run names its records by their path, which is the same in every step.
    """
    import shutil
    import subprocess
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as disk:
        shutil.copytree(trained.path, f"{disk}/run")
        command = [sys.executable, "-m", "attr_extractor", "evaluate", f"--run_dir={disk}/run"]
        subprocess.run([*command, f"--require={require}"], check=True)
        shutil.copytree(f"{disk}/run", run.path, dirs_exist_ok=True)


@step
def calibrate(
    goal: str, records: Input[Artifact], evaluated: Input[Artifact], run: Output[Artifact]
) -> None:
    """Choose temperatures and thresholds on the validation split."""
    import shutil
    import subprocess
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as disk:
        shutil.copytree(evaluated.path, f"{disk}/run")
        command = [sys.executable, "-m", "attr_extractor", "calibrate", f"--run_dir={disk}/run"]
        subprocess.run([*command, f"--goal={goal}"], check=True)
        shutil.copytree(f"{disk}/run", run.path, dirs_exist_ok=True)


@step
def export(model_name: str, run: Input[Artifact], models: Output[Artifact]) -> None:
    """Export the run as version 1 of the model `model_name`, a folder in the artifact."""
    import shutil
    import subprocess
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as disk:
        command = [sys.executable, "-m", "attr_extractor", "export", f"--run_dir={run.path}"]
        subprocess.run([*command, f"--output_dir={disk}/models/{model_name}"], check=True)
        shutil.copytree(f"{disk}/models", models.path, dirs_exist_ok=True)


def make_pipeline(image: str, accelerator: str = "") -> dsl.base_component.BaseComponent:
    """Return the pipeline.

    The image is not a parameter of the pipeline: not every server resolves those in images.

    Args:
      image: container image of all steps.
      accelerator: accelerator of the training step, if one is named.
    """

    @dsl.pipeline(name="attr-extractor")
    def attr_extractor(
        catalogue: str,
        schema: str,
        config: str = "pretrained",
        require: str = "",
        goal: str = "f1",
        model_name: str = "attributes",
        build_flags: List[str] = [],  # noqa: B006 (kfp requires the list itself)
        train_flags: List[str] = [],  # noqa: B006
    ) -> Artifact:
        """Train a model on a catalogue, and export it if it meets the requirements.

        Args:
          catalogue: table, a path that every step can read or in a bucket.
          schema: schema, a path that every step can read or a schema's name.
          config: config, a path that every step can read or a config's name.
          require: requirements of `attr-extractor evaluate`; the pipeline stops if one is not met.
          goal: goal of the thresholds, see `attr-extractor calibrate`.
          model_name: name of the exported model in requests.
          build_flags: further flags of `attr-extractor build`.
          train_flags: further flags of `attr-extractor train`.

        Returns:
          A folder with the folder of the model.
        """
        built = build(catalogue=catalogue, schema=schema, flags=build_flags)
        records = built.outputs["records"]
        checked = check(records=records)
        trained = train(config=config, flags=train_flags, records=records).after(checked)
        if accelerator:
            trained.set_accelerator_type(accelerator)
        evaluated = evaluate(require=require, records=records, trained=trained.outputs["run"])
        calibrated = calibrate(goal=goal, records=records, evaluated=evaluated.outputs["run"])
        exported = export(model_name=model_name, run=calibrated.outputs["run"])
        for task in (built, checked, trained, evaluated, calibrated, exported):
            task.set_container_image(image)
            # a cached step would miss a change within a file: its path stays the same
            task.set_caching_options(False)
        return exported.outputs["models"]

    return attr_extractor


def main() -> None:
    output = Path(F.output)
    if output.suffix != ".yaml":
        raise errors.InputError(f"{output}: --output must end with .yaml")
    if not output.resolve().parent.is_dir():
        raise errors.InputError(f"{output.parent}: the folder of --output does not exist")
    compiler.Compiler().compile(make_pipeline(F.image, F.accelerator), str(output))
    print(f"pipeline: {output}")


if __name__ == "__main__":
    errors.run_program(main)
