"""Test the deployment configs with TF Serving's own protos and a YAML parser."""

from __future__ import annotations

import re

import pytest
import yaml
from google.protobuf import text_format

from attr_extractor.errors import InputError
from attr_extractor.serving import deployment

model_server_config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    models = tmp_path_factory.mktemp("models") / "Spring_Shop"
    models.mkdir()
    deployment.write_configs(models)
    return models / "deployment"


def read(folder, file: str) -> str:
    return (folder / file).read_text(encoding="utf-8")


def test_the_model_config_parses_as_tf_servings_proto(folder):
    config = text_format.Parse(
        read(folder, "models.config"), model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("Spring_Shop", "/models/Spring_Shop")
    assert model.model_version_policy.latest.num_versions == 1


def test_the_other_configs_contain_fields_of_their_protos(folder):
    # monitoring_config.proto and session_bundle_config.proto, which the package does not have
    monitoring = read(folder, "monitoring.config").split("\n", 1)[1].split()
    path = '"/monitoring/prometheus/metrics"'
    assert monitoring == ["prometheus_config", "{", "enable:", "true", "path:", path, "}"]
    known = {"max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"}
    lines = [line for line in read(folder, "batching.config").splitlines() if line[0] != "#"]
    fields = [re.fullmatch(r"(\w+) \{ value: \d+ \}( *#.*)?", line)[1] for line in lines]
    assert set(fields) == known


def test_compose_and_kubernetes_use_the_configs_of_the_same_folder(folder):
    service = yaml.safe_load(read(folder, "docker-compose.yaml"))["services"]["spring-shop"]
    mounted = service["volumes"][0].split(":")[1]
    first, second = yaml.safe_load_all(read(folder, "kubernetes.yaml"))
    (container,) = first["spec"]["template"]["spec"]["containers"]
    assert container["volumeMounts"][0]["mountPath"] == mounted
    assert container["args"] == service["command"]
    named = [a.split("=")[1] for a in service["command"] if "_file=" in a]
    inside = [path.replace(f"{mounted}/deployment/", "") for path in named]
    assert sorted(inside) == ["batching.config", "models.config", "monitoring.config"]
    assert all((folder / file).is_file() for file in inside)
    assert "--tensorflow_intra_op_parallelism=0" in service["command"]  # all cores
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    labels = first["spec"]["template"]["metadata"]["labels"]
    assert labels == first["spec"]["selector"]["matchLabels"] == second["spec"]["selector"]
    assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", first["metadata"]["name"])
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == "/v1/models/Spring_Shop"


@pytest.mark.parametrize("name", ['sh"op', "sh$op", "sh\\op", "sh\nop"])
def test_a_name_that_configs_cannot_contain_is_rejected(name, tmp_path):
    with pytest.raises(InputError, match="without quotes, backslashes and dollar signs"):
        deployment.require_name(tmp_path / name)


@pytest.mark.parametrize("name", ["shop", "Mein Laden", "店"])
def test_any_other_name_is_written_unchanged(name, tmp_path):
    (tmp_path / name).mkdir()
    deployment.write_configs(tmp_path / name)
    content = (tmp_path / name / "deployment" / "models.config").read_text("utf-8")
    config = text_format.Parse(content, model_server_config_pb2.ModelServerConfig())
    assert config.model_config_list.config[0].name == name


def test_existing_files_are_not_overwritten(tmp_path):
    (tmp_path / "deployment").mkdir()
    (tmp_path / "deployment" / "batching.config").write_text("mine", encoding="utf-8")
    deployment.write_configs(tmp_path)
    assert read(tmp_path / "deployment", "batching.config") == "mine"
    assert len(list((tmp_path / "deployment").iterdir())) == 5
