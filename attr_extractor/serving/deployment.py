"""How to run TF Serving on a folder of versions: its own configs, docker compose, Kubernetes.

Written once; files that are there already stay as they are, since they are the user's to change.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import tensorflow as tf

from attr_extractor.errors import InputError

FOLDER = "deployment"


def operation_threads(parts: int) -> int:
    """With how many threads a server computes one operation of a network in parts; 0: all cores."""
    return 1 if parts > 1 else 0


def write(models: Path, parts: int = 1) -> None:
    """Writes what is absent in `<models>/deployment/`.

    Args:
      models: the folder of version folders; its name is what requests call the model.
      parts: that the network is in; each is one thread's work.
    """
    name = require_name(models)
    facts = {
        "name": name,
        "label": re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") or "model",
        "threads": operation_threads(parts),
        "image": f"tensorflow/serving:{tf.__version__}",
    }
    folder = models / FOLDER
    folder.mkdir(exist_ok=True)
    for file, template in FILES.items():
        if not (folder / file).exists():
            (folder / file).write_text(Template(template).substitute(facts), encoding="utf-8")


def require_name(models: Path) -> str:
    """The name of the model, its folder's; raises InputError where no config could hold it."""
    name = models.resolve().name
    if not name or re.search(r'["\\$\x00-\x1f]', name):
        raise InputError(
            f"{models}: the folder's name is the model's, and TF Serving's configs cannot hold "
            f"{name!r}; take one without quotes, backslashes and dollar signs"
        )
    return name


_MODELS = """\
# tensorflow_model_server --model_config_file=...: the newest version is served
model_config_list {
  config {
    name: "$name"
    base_path: "/models/$name"
    model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 1 } }
  }
}
"""
_BATCHING = """\
# --enable_batching --batching_parameters_file=...: requests of several clients share a run
max_batch_size { value: 32 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 32 }  # then RESOURCE_EXHAUSTED, not a longer wait
num_batch_threads { value: 2 }  # runs at the same time; each uses all cores
"""
_MONITORING = """\
# --monitoring_config_file=...: for Prometheus, on the REST port
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""
_ARGUMENTS = (
    "--port=8500",
    "--rest_api_port=8501",
    "--model_config_file=/models/$name/deployment/models.config",
    "--enable_batching=true",
    "--batching_parameters_file=/models/$name/deployment/batching.config",
    "--monitoring_config_file=/models/$name/deployment/monitoring.config",
    "--tensorflow_intra_op_parallelism=$threads",
)


def _listed(indent: int) -> str:
    return "\n".join(" " * indent + f'- "{argument}"' for argument in _ARGUMENTS)


_COMPOSE = f"""\
# docker compose -f {FOLDER}/docker-compose.yaml up, from anywhere; only this machine reaches it
services:
  $label:
    image: "$image"
    entrypoint: ["tensorflow_model_server"]
    command:
{_listed(6)}
    ports:
      - "127.0.0.1:8500:8500"
      - "127.0.0.1:8501:8501"
    volumes:
      - "..:/models/$name:ro"
    restart: unless-stopped
    healthcheck:
      # the image has no curl; REST opens once the first version is warm
      test: ["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8501"]
      interval: 10s
      start_period: 60s
"""
_KUBERNETES = f"""\
# kubectl apply -f {FOLDER}/kubernetes.yaml, where a volume claim $label-models holds this folder
apiVersion: apps/v1
kind: Deployment
metadata:
  name: "$label"
  labels: {{app: "$label"}}
spec:
  replicas: 2
  selector:
    matchLabels: {{app: "$label"}}
  template:
    metadata:
      labels: {{app: "$label"}}
    spec:
      containers:
        - name: serving
          image: "$image"
          command: ["tensorflow_model_server"]
          args:
{_listed(12)}
          ports:
            - {{name: grpc, containerPort: 8500}}
            - {{name: rest, containerPort: 8501}}
          resources:
            requests: {{cpu: "2", memory: 1Gi}}
            limits: {{memory: 4Gi}}
          startupProbe:
            httpGet: {{path: "/v1/models/$name", port: rest}}
            periodSeconds: 5
            failureThreshold: 60
          readinessProbe:
            httpGet: {{path: "/v1/models/$name", port: rest}}
            periodSeconds: 5
          livenessProbe:
            tcpSocket: {{port: grpc}}
            periodSeconds: 10
          volumeMounts:
            - {{name: models, mountPath: "/models/$name", readOnly: true}}
      volumes:
        - name: models
          persistentVolumeClaim: {{claimName: "$label-models", readOnly: true}}
---
apiVersion: v1
kind: Service
metadata:
  name: "$label"
spec:
  selector: {{app: "$label"}}
  ports:
    - {{name: grpc, port: 8500, targetPort: grpc}}
    - {{name: rest, port: 8501, targetPort: rest}}
"""
FILES = {
    "models.config": _MODELS,
    "batching.config": _BATCHING,
    "monitoring.config": _MONITORING,
    "docker-compose.yaml": _COMPOSE,
    "kubernetes.yaml": _KUBERNETES,
}
