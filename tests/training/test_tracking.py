"""Tracked runs, read back from MLflow's file store and from W&B's offline files."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pytest
import tensorflow as tf
import yaml
from wandb.proto.wandb_internal_pb2 import Record
from wandb.sdk.internal.datastore import DataStore

from attr_extractor.config import Config
from attr_extractor.errors import InputError, TemporaryError
from attr_extractor.evaluation.calibrate import calibrate
from attr_extractor.evaluation.evaluate import evaluate
from attr_extractor.serving.export import export
from attr_extractor.training import fit, mlflow_service, tracking
from attr_extractor.training.checkpoints import Checkpoints, saved_steps
from attr_extractor.training.run_dir import RunDir
from tests.conftest import Shop, require_bad_input, run_tool
from tests.training.test_tensorboard import summaries


@pytest.fixture
def mlflow_store(tmp_path, monkeypatch) -> mlflow.MlflowClient:
    return use_mlflow_store(tmp_path / "store", monkeypatch)


def use_mlflow_store(folder: Path, patch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    patch.setenv("MLFLOW_TRACKING_URI", folder.as_uri())
    patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return mlflow.MlflowClient(folder.as_uri())


@pytest.fixture
def wandb_offline(tmp_path, monkeypatch) -> None:
    use_wandb_offline(tmp_path, monkeypatch)


def use_wandb_offline(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):  # not in the home folder
        patch.setenv(name, str(folder / name))


def train(built: Shop, run: Path, *settings: str) -> RunDir:
    return fit.train(Config.read(built.config, settings), built.records, run)


class Finished(NamedTuple):
    """A run after training, evaluation, calibration, another evaluation, and export."""

    path: Path
    model: Path
    measured: dict[str, Any]  # metrics.json by section, as each program wrote it


def run_all_programs(built: Shop, folder: Path, tracker: str) -> Finished:
    run = train(built, folder / "run", f"train.tracker={tracker}").path
    measured = json.loads((run / "metrics.json").read_text())
    evaluate(run)
    measured.update(calibration=calibrate(run), test=evaluate(run))
    return Finished(run, export(run, folder / "shop"), measured)


def only_run(client: mlflow.MlflowClient, experiment: str = "attr-extractor") -> Any:
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return found


def logged_points(run: Path) -> dict[str, dict[int, float]]:
    """Return the finite scalars of the TensorBoard logs, by name and step."""
    points: dict[str, dict[int, float]] = {}
    for split in ("train", "validation"):
        for step, value in summaries(run / "logs" / split):
            if value.metadata.plugin_data.plugin_name == "scalars":
                number = float(tf.make_ndarray(value.tensor))
                points.setdefault(f"{split}/{value.tag}", {})[step] = number
    return {k: p for k, p in points.items() if all(n == n for n in p.values())}


def leaves(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def numbers(section: str, content: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a section, of each attribute only its score."""
    found = {f"{section}/{k}": v for k, v in leaves(content) if type(v) in (int, float)}
    return {k: v for k, v in found.items() if "attributes/" not in k or k.endswith("/score")}


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# MLflow


@pytest.fixture(scope="module")
def on_mlflow(built, tmp_path_factory) -> Iterator[tuple[Finished, mlflow.MlflowClient]]:
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        client = use_mlflow_store(folder / "store", patch)
        yield run_all_programs(built, folder, "mlflow"), client


def test_mlflow_has_every_key_of_the_config(on_mlflow):
    finished, client = on_mlflow
    tracked = only_run(client)
    assert (tracked.info.run_name, tracked.info.status) == ("test/run", "FINISHED")
    config = yaml.safe_load((finished.path / "config.yaml").read_text())
    params = tracked.data.params
    assert set(params) == {key.replace("/", ".") for key, _ in leaves(config)}
    assert (params["train.epochs"], params["model.hidden"]) == ("3", "[8, 8]")
    assert (params["data.square"], params["augmentation.enabled"]) == ("squeeze", "true")


def test_mlflow_has_the_scalars_of_tensorboard(on_mlflow):
    finished, client = on_mlflow
    expected = logged_points(finished.path)
    assert {"train/loss", "validation/score", "train/lr", "validation/attribute_loss/color"} <= set(
        expected
    )
    for name, points in expected.items():
        history = client.get_metric_history(only_run(client).info.run_id, name)
        assert len(points) == 3  # epochs
        assert [p.step for p in history] == sorted(points)
        assert [p.value for p in history] == pytest.approx([points[p.step] for p in history])


def test_mlflow_has_the_numbers_of_metrics_json(on_mlflow):
    finished, client = on_mlflow
    found = only_run(client).data.metrics
    expected: dict[str, float] = {}
    for section, content in finished.measured.items():
        expected.update(numbers(section, content))
    assert {"test/attributes/color/score", "test/mean/macro_f1", "training/seconds"} <= set(
        expected
    )
    assert {name: found[name] for name in expected} == expected
    assert set(found) == {*expected, *logged_points(finished.path)}


def test_mlflow_has_the_files_of_the_run_and_the_exported_model(on_mlflow, tmp_path):
    finished, client = on_mlflow
    found = Path(client.download_artifacts(only_run(client).info.run_id, "", str(tmp_path)))
    names = {
        "config.yaml", "schema.yaml", "metrics.json", "thresholds.json", "weights.npz",
        "report.html", "model_card.md",
    }  # fmt: skip
    assert {path.name for path in found.iterdir()} == {*names, "exported"}
    for name in names:
        assert (found / name).read_bytes() == (finished.path / name).read_bytes(), name
    assert files_of(found / "exported/shop/1") == files_of(finished.model)


def test_an_equal_result_of_a_second_evaluation_adds_no_point(on_mlflow):
    finished, client = on_mlflow
    run_id = only_run(client).info.run_id
    for name, number in numbers("test", finished.measured["test"]).items():
        *earlier, last = client.get_metric_history(run_id, name)
        assert last.value == number
        assert len(earlier) <= 1 and all(p.value != number for p in earlier)


# Resumed runs


def interrupt(patch: pytest.MonkeyPatch, number: int) -> None:
    """Simulate an interruption right before a checkpoint is saved for the n-th time."""
    save, calls = Checkpoints._save, iter(range(1, number + 1))

    def _save(self: Checkpoints) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt
        save(self)

    patch.setattr(Checkpoints, "_save", _save)


def train_interrupted(built: Shop, run: Path, tracker: str) -> int:
    """Interrupt a run after its second epoch is logged; return the number of steps per epoch."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 2)
        train(built, run, f"train.tracker={tracker}")
    (steps,) = saved_steps(run / "checkpoints")
    return steps


@pytest.mark.slow
def test_a_resumed_run_continues_its_run_in_mlflow(built, tmp_path, mlflow_store):
    run = tmp_path / "run"
    steps = train_interrupted(built, run, "mlflow")
    tracked = only_run(mlflow_store)
    assert tracked.info.status == "KILLED"
    history = mlflow_store.get_metric_history(tracked.info.run_id, "train/loss")
    assert [p.step for p in history] == [steps, 2 * steps]
    # as if it had been killed while it logged the second epoch
    state = json.loads((run / "tracker.json").read_text())
    assert state == {
        "tracker": "mlflow",
        "id": tracked.info.run_id,
        "step": 2 * steps,
        "weights": "",
    }
    (run / "tracker.json").write_text(json.dumps({**state, "step": steps}))
    train(built, run, "train.tracker=mlflow")
    tracked = only_run(mlflow_store)
    assert tracked.info.status == "FINISHED"
    for name in ("train/loss", "validation/loss", "train/attribute_score/color"):
        history = mlflow_store.get_metric_history(tracked.info.run_id, name)
        assert [p.step for p in history] == [steps, 2 * steps, 3 * steps]


class Segment(NamedTuple):
    """Content of one .wandb file."""

    id: str
    config: dict[str, Any]
    history: dict[int, dict[str, float]]
    summary: dict[str, Any]
    artifacts: list[str]


def read_segments(run: Path) -> list[Segment]:
    """Read the offline files of a run, oldest first; W&B's own process may still write them."""
    end = time.monotonic() + 60
    segments = read_files(run)
    while not all(segment.id for segment in segments):
        assert time.monotonic() < end
        time.sleep(0.2)
        segments = read_files(run)
    return segments


def read_files(run: Path) -> list[Segment]:
    """Read the offline files of a run with W&B's own reader, oldest first."""
    segments = []
    for path in sorted(run.glob("wandb/offline-run-*/run-*.wandb")):
        store, segment = DataStore(), Segment("", {}, {}, {}, [])
        store.open_for_scan(str(path))
        while data := store.scan_data():
            record = Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                segment = segment._replace(id=record.run.run_id)
                segment.config.update(values(record.run.config.update))
            elif kind == "history":
                step = record.history.step.num
                assert step not in segment.history
                segment.history[step] = values(record.history.item)
            elif kind == "summary":
                segment.summary.update(values(record.summary.update))
            elif kind == "artifact":
                segment.artifacts.append(record.artifact.name)
        segments.append(segment)
    return segments


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.slow
def test_a_resumed_run_continues_its_run_in_wandb(built, tmp_path, wandb_offline):
    run = tmp_path / "run"
    steps = train_interrupted(built, run, "wandb")
    train(built, run, "train.tracker=wandb")
    first, second = read_segments(run)
    assert first.id == second.id == json.loads((run / "tracker.json").read_text())["id"]
    assert list(first.history) == [steps, 2 * steps]
    assert list(second.history) == [3 * steps]


# W&B


@pytest.fixture(scope="module")
def on_wandb(built, tmp_path_factory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        use_wandb_offline(folder, patch)
        yield run_all_programs(built, folder, "wandb")


def test_wandb_has_config_scalars_and_numbers(on_wandb):
    segments = read_segments(on_wandb.path)
    assert len(segments) == 5  # train, evaluate, calibrate, evaluate, export
    assert len({segment.id for segment in segments}) == 1
    config = Config.read(on_wandb.path / "config.yaml")
    found = {k: v for k, v in segments[0].config.items() if k != "_wandb"}
    assert found == config.model_dump(mode="json")
    expected = logged_points(on_wandb.path)
    history = segments[0].history
    for name, points in expected.items():
        assert {step: row[name] for step, row in history.items()} == pytest.approx(points)
    summary: dict[str, Any] = {}
    for segment in segments:
        summary.update(segment.summary)
    for section, content in on_wandb.measured.items():
        for name, number in numbers(section, content).items():
            assert summary[name] == number


def test_wandb_has_the_files_of_the_run_and_the_exported_model(on_wandb):
    found: dict[str, bytes] = {}
    for folder in sorted(on_wandb.path.glob("wandb/offline-run-*/files")):
        found.update(files_of(folder))
    for name in (
        "config.yaml", "schema.yaml", "metrics.json", "thresholds.json", "weights.npz",
        "report.html", "model_card.md",
    ):  # fmt: skip
        assert found[name] == (on_wandb.path / name).read_bytes(), name
    assert [a for segment in read_segments(on_wandb.path) for a in segment.artifacts] == ["shop"]


# What cannot be tracked


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_a_missing_library_ends_before_anything_is_written(built, tmp_path, monkeypatch, tracker):
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(InputError, match=rf"pip install 'attr-extractor\[{tracker}\]'") as caught:
        train(built, tmp_path / "run", f"train.tracker={tracker}")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("tracker", "environment", "words"),
    [
        (
            "mlflow",
            {
                "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
                "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            },
            "127.0.0.1",
        ),
        ("mlflow", {"MLFLOW_TRACKING_URI": ""}, "MLFLOW_TRACKING_URI is not set"),
        ("wandb", {"WANDB_MODE": "online", "NETRC": "/no/keys", "WANDB_API_KEY": ""}, "API key"),
    ],
)
def test_a_service_that_cannot_be_opened_ends_the_program_before_training(
    built, tmp_path, monkeypatch, tracker, environment, words
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run = tmp_path / "run"
    result = run_tool(
        "train", f"--config={built.config}", f"--records={built.records}", f"--run_dir={run}",
        f"--set=train.tracker={tracker}",
    )  # fmt: skip
    require_bad_input(result, f"train.tracker: {tracker} cannot be opened", words)
    assert not (run / "weights.npz").exists()
    assert not saved_steps(run / "checkpoints")


def fail_once(patch: pytest.MonkeyPatch, method: str, number: int) -> None:
    """Let the n-th call of a method of MLflow's tracked run fail, and all others succeed."""
    plain, calls = getattr(mlflow_service.MLflowRun, method), []

    def failing(self: Any, *arguments: Any) -> None:
        calls.append(method)
        if len(calls) == number:
            raise ConnectionError("no route to the server")
        plain(self, *arguments)

    patch.setattr(mlflow_service.MLflowRun, method, failing)


@pytest.mark.slow
def test_a_failure_ends_the_run_which_resumes(built, tmp_path, monkeypatch, mlflow_store):
    run = tmp_path / "run"
    fail_once(monkeypatch, "log_points", 2)
    fail_once(monkeypatch, "log_file", 3)
    with pytest.raises(TemporaryError, match=r"run: mlflow fails: no route.*tracker=none"):
        train(built, run, "train.tracker=mlflow")
    (steps,) = saved_steps(run / "checkpoints")
    with pytest.raises(TemporaryError, match="mlflow fails"):
        train(built, run, "train.tracker=mlflow")
    assert (run / "weights.npz").is_file()  # trained, but its result is not logged
    train(built, run, "train.tracker=mlflow")
    tracked = only_run(mlflow_store)
    history = mlflow_store.get_metric_history(tracked.info.run_id, "train/loss")
    assert [p.step for p in history] == [steps, 2 * steps, 3 * steps]
    artifacts = {file.path for file in mlflow_store.list_artifacts(tracked.info.run_id)}
    assert {*tracking.TRAINED} == artifacts and tracked.info.status == "FINISHED"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    train(built, run, "train.tracker=mlflow")  # nothing is left to log


@pytest.mark.slow
def test_a_run_goes_on_without_its_tracker(built, tmp_path, monkeypatch, mlflow_store):
    run = tmp_path / "run"
    fail_once(monkeypatch, "log_points", 2)
    with pytest.raises(TemporaryError):
        train(built, run, "train.tracker=mlflow")
    train(built, run)
    assert RunDir.read(run).config.train.tracker == "none"
    evaluate(run)
    history = mlflow_store.get_metric_history(only_run(mlflow_store).info.run_id, "train/loss")
    assert len(history) == 1


@pytest.mark.slow
def test_a_failed_export_leaves_no_version(on_mlflow, tmp_path, monkeypatch):
    finished, _ = on_mlflow
    fail_once(monkeypatch, "log_model", 1)
    with pytest.raises(TemporaryError, match="mlflow fails"):
        export(finished.path, tmp_path / "shop")
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a JSON file"),
        ('{"tracker": "mlflow"}', "id"),
        ('{"tracker": "neptune", "id": "x"}', "tracker"),
    ],
)
def test_a_damaged_tracker_json_is_reported(on_mlflow, tmp_path, content, words):
    finished, _ = on_mlflow
    for name in ("config.yaml", "schema.yaml", "records.json"):
        (tmp_path / name).write_bytes((finished.path / name).read_bytes())
    (tmp_path / "tracker.json").write_text(content)
    run = RunDir.read(tmp_path)
    with pytest.raises(InputError, match=rf"tracker\.json.*{words}"), tracking.continued(run):
        raise AssertionError("opened")


def test_numbers_have_names_that_both_services_take():
    content = {
        "v/neck": {"..": 1, "größe 4.5": 2, "": 3, "list": [4], "yes": True, "none": None},
        "attributes": {"a": {"score": 0.5, "photos": 9}, "b": {"score": None}, "c": {"f1": 1.0}},
    }
    assert dict(tracking._numbers(content, "test")) == {
        "test/v_neck/__": 1.0,
        "test/v_neck/größe 4_5": 2.0,
        "test/v_neck/_": 3.0,
        "test/attributes/a/score": 0.5,
    }
