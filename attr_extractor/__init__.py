"""Fine-grained attributes of fashion photos: from a seller's table to a served model.

The main modules and subpackages in the order of data flow (none imports a later one):
errors, schema, labels, config, catalogue, sources, records, model, training, evaluation, serving,
enrichment, api.
Importing the package imports none of them: TensorFlow is loaded by the subpackage that needs it.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# the public names, each loaded with its module on first use
_PUBLIC = {
    "Schema": "schema.Schema",
    "Config": "config.Config",
    "infer_schema": "api.catalogue.infer_schema",
    "build_records": "api.catalogue.build_records",
    "train": "api.run.train",
    "Run": "api.run.Run",
    "evaluate": "evaluation.evaluate.evaluate",
    "calibrate": "evaluation.calibrate.calibrate",
    "export": "api.run.export",
    "Predictor": "api.predictor.Predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].rpartition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list:
    return sorted([*globals(), *_PUBLIC])
