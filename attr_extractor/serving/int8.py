"""Quantize a network to 8 bits for OpenVINO such that its answers stay.

NNCF rounds all weights and activations, ranks the operations by the error that each adds to the
scores, and returns them to float32 one after another until KEPT of the answers to training photos
are those of float32. Answers are too coarse for the ranking: most operations change none of a
hundred photos' answers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from attr_extractor.errors import InputError, extra
from attr_extractor.model.answers import Answers

KEPT = 0.993  # share of (photo, attribute); photos of other splits lose a little more
_RANKING_PHOTOS = 100  # of the calibration's, to rank operations on


@dataclass(frozen=True)
class Calibration:
    """Photos of the training split and the rule of answers."""

    pixels: np.ndarray  # uint8 [N, H, W, 3]
    answers: Answers


def quantize(model: Any, calibration: Calibration) -> Any:
    """Return an openvino.Model of pixels -> scores with int8 operations; it takes minutes."""
    if sys.version_info < (3, 10):
        raise InputError("openvino_int8 needs NNCF, which needs Python 3.10 or newer")
    with extra("convert"):
        import nncf
        import openvino
    nncf.set_log_level("ERROR")
    pixels, answers = calibration.pixels, calibration.answers
    network = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = np.concatenate([network(photo[np.newaxis])[0] for photo in pixels])

    def equal(compiled: Any, places: Iterable[int]) -> tuple[float, list[list[np.ndarray]]]:
        chosen = list(places)
        scores = np.concatenate([compiled(pixels[[place]])[0] for place in chosen])
        kept = float(answers.agree(scores, expected[chosen]).mean())
        return kept, [[of_photo] for of_photo in scores]  # NNCF ranks by lists of outputs

    return nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset([photo[np.newaxis] for photo in pixels]),
        validation_dataset=nncf.Dataset(range(len(pixels)), lambda place: pixels[[place]]),
        validation_fn=equal,
        max_drop=1 - KEPT,
        subset_size=len(pixels),
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=_RANKING_PHOTOS
        ),
    )
