"""Fine-grained attributes of fashion photos: from a seller's table to a served model.

The rooms, in the order in which data flows (nothing imports upwards):
errors, schema, labels, config, catalogue, records, model, training, evaluation, serving,
enrichment.
Importing the package imports none of them: TensorFlow is loaded by the room that needs it.
"""

import os

__version__ = "0.1.0"

# TensorFlow 2.15 logs "Unable to register cuBLAS factory" as an error in every process, GPU or
# not; what really fails reaches Python as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
