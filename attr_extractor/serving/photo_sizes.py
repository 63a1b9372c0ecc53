"""The server's own limit on a photo's pixels, from its header, before the graph decodes it.

The graph refuses more than 100 million; just below that a PNG of a few kilobytes still takes
gigabytes to decode, which a training run may afford and a server may not.
"""

from __future__ import annotations

import io
import math
import warnings

from google.protobuf.message import DecodeError
from PIL import Image

from attr_extractor.records import example
from attr_extractor.serving.status import invalid
from attr_extractor.serving.tensors import Arrays

PHOTOS = "image_bytes"  # what every signature that reads files calls them
EXAMPLES = "examples"  # and that which reads the records' own form
_FORMATS = ("JPEG", "PNG", "GIF", "BMP")  # that the graph decodes


def check(inputs: Arrays, megapixels: float) -> None:
    """Raises ServingError where a photo has more pixels, or bytes are no Example.

    What has no size, and an Example that lacks its photo, are left to the graph.
    """
    examples = (_photo(i, serialized) for i, serialized in enumerate(inputs.get(EXAMPLES, ())))
    photos = [*inputs.get(PHOTOS, ()), *examples]
    for i, photo in enumerate(photos):
        size = _size(photo)
        if math.prod(size) > megapixels * 1e6:
            sides = f"{size[0]} x {size[1]} pixels"
            raise invalid(f"photo {i} is {sides}; at most {megapixels:g} million are read")


def _photo(i: int, serialized: bytes) -> bytes:
    """The photo in an Example, empty where there is none."""
    try:
        return example.photo(serialized)
    except DecodeError as error:  # the graph would refuse the whole batch
        raise invalid(f"Could not parse example input: row {i} is no Example") from error
    except LookupError:
        return b""


def _size(photo: bytes) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(photo), formats=_FORMATS).size
        except (OSError, ValueError, Image.DecompressionBombError):
            return (0, 0)  # damaged, or so large that the graph refuses it too
