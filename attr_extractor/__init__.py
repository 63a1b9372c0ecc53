"""Fine-grained attributes of fashion photos: from a seller's table to a served model.

The main modules and subpackages in the order of data flow (none imports a later one):
errors, schema, labels, config, catalogue, records, model, training, evaluation, serving,
enrichment.
Importing the package imports none of them: TensorFlow is loaded by the subpackage that needs it.
"""

import os

__version__ = "0.1.0"

# TensorFlow 2.15 logs "Unable to register cuBLAS factory" as an error in every process, with or
# without a GPU. Real failures reach Python as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
