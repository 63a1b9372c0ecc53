"""Configs to run TF Serving on a folder of versions: its own, docker compose, Kubernetes.

Existing files are never overwritten, since users may edit them.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import tensorflow as tf

from attr_extractor.errors import InputError

FOLDER = "deployment"


def operation_threads(parts: int) -> int:
    """Return the number of threads per operation for a network in `parts` parts; 0: all cores."""
    return 1 if parts > 1 else 0


def write_configs(models: Path, parts: int = 1) -> None:
    """Write the missing files of `<models>/deployment/`.

    Args:
      models: the folder of version folders; its name is the model's name in requests.
      parts: number of parts of the network; each is computed by one thread.
    """
    name = require_name(models)
    values = {
        "name": name,
        "label": re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") or "model",
        "threads": operation_threads(parts),
        "image": f"tensorflow/serving:{tf.__version__}",
    }
    folder = models / FOLDER
    folder.mkdir(exist_ok=True)
    for file, template in FILES.items():
        if not (folder / file).exists():
            (folder / file).write_text(Template(template).substitute(values), encoding="utf-8")


def require_name(models: Path) -> str:
    """Return the model's name, its folder's; raise InputError if configs cannot contain it."""
    name = models.resolve().name
    if not name or re.search(r'["\\$\x00-\x1f]', name):
        raise InputError(
            f"{models}: the folder's name is the model's, and TF Serving's configs cannot "
            f"contain {name!r}; use a name without quotes, backslashes and dollar signs"
        )
    return name


_MODELS = """\
# tensorflow_model_server --model_config_file=...: serves the newest version
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
# --enable_batching --batching_parameters_file=...: batches requests of several clients
max_batch_size { value: 32 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 32 }  # beyond it RESOURCE_EXHAUSTED, not a longer wait
num_batch_threads { value: 2 }  # concurrent runs; each uses all cores
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
# docker compose -f {FOLDER}/docker-compose.yaml up, from any folder; ports are on localhost only
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
      # the image has no curl; REST listens once the first version is warm
      test: ["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8501"]
      interval: 10s
      start_period: 60s
"""
_KUBERNETES = f"""\
# kubectl apply -f {FOLDER}/kubernetes.yaml; requires a volume claim $label-models with this folder
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
