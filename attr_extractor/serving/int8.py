"""Quantize a network to 8 bits for OpenVINO: the trunk, whose convolutions take the time.

Float32 remain the operations after the last convolution (attention, pooling, branches), whose
features have different ranges, and the first two convolutions, which read and write the largest
maps: each adds more error than its 8 bits save time. docs/decisions/serving.md has the figures.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from attr_extractor.errors import InputError, extra

_CONVOLUTIONS = ("Convolution", "GroupConvolution")  # of OpenVINO; the latter are depthwise
_FIRST = 2  # convolutions in float32


def quantize(model: Any, pixels: np.ndarray) -> Any:
    """Return an openvino.Model of pixels -> scores with int8 operations.

    Args:
      model: an openvino.Model of pixels uint8 [B, H, W, 3] -> scores float32 [B, V].
      pixels: photos of the training split, uint8 [N, H, W, 3], that ranges of activations are
        taken from, and the mean errors that biases correct.
    """
    if sys.version_info < (3, 10):
        raise InputError("openvino_int8 needs NNCF, which needs Python 3.10 or newer")
    with extra("convert"):
        import nncf
    nncf.set_log_level("ERROR")
    convolutions = [o for o in model.get_ordered_ops() if o.get_type_name() in _CONVOLUTIONS]
    float32 = [*convolutions[:_FIRST], *_after_convolutions(model)]
    return nncf.quantize(
        model,
        nncf.Dataset([photo[np.newaxis] for photo in pixels]),
        subset_size=len(pixels),
        preset=nncf.QuantizationPreset.MIXED,  # an activation's range need not be around 0
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope([o.get_friendly_name() for o in float32], validate=False),
        # the fix halves the range of the first layers for CPUs without VNNI
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.DISABLE
        ),
    )


def _after_convolutions(model: Any) -> list[Any]:
    """Return the operations whose output no convolution depends on."""
    needed: set[str] = set()  # names of operations that a convolution depends on, and of these
    after = []
    for operation in reversed(model.get_ordered_ops()):
        readers = [
            reader.get_node().get_friendly_name()
            for output in operation.outputs()
            for reader in output.get_target_inputs()
        ]
        if operation.get_type_name() in _CONVOLUTIONS or needed.intersection(readers):
            needed.add(operation.get_friendly_name())
        elif operation.get_type_name() not in ("Constant", "Result"):
            after.append(operation)
    return after
