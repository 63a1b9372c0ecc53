"""The server's own limit on a photo's pixels, checked in its header before the graph decodes it.

The graph rejects more than 100 million pixels. Just below that limit, a PNG of a few kilobytes
still takes gigabytes to decode: acceptable in a training run, not in a server.
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

PHOTOS = "image_bytes"  # the input of every signature that reads files
EXAMPLES = "examples"  # the input of the signature that reads Examples of records
_FORMATS = ("JPEG", "PNG", "GIF", "BMP")  # decoded by the graph


def check(inputs: Arrays, megapixels: float) -> None:
    """Raise ServingError if a photo has too many pixels, or bytes are not an Example.

    Photos without a readable size, and Examples without a photo, are left to the graph.
    """
    examples = (_photo(i, serialized) for i, serialized in enumerate(inputs.get(EXAMPLES, ())))
    photos = [*inputs.get(PHOTOS, ()), *examples]
    for i, photo in enumerate(photos):
        size = _size(photo)
        if math.prod(size) > megapixels * 1e6:
            sides = f"{size[0]} x {size[1]} pixels"
            raise invalid(f"photo {i} is {sides}; at most {megapixels:g} million are allowed")


def _photo(i: int, serialized: bytes) -> bytes:
    """Return the photo in an Example, empty if there is none."""
    try:
        return example.photo(serialized)
    except DecodeError as error:  # the graph would reject the whole batch
        raise invalid(f"Could not parse example input: row {i} is not an Example") from error
    except LookupError:
        return b""


def _size(photo: bytes) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(photo), formats=_FORMATS).size
        except (OSError, ValueError, Image.DecompressionBombError):
            return (0, 0)  # damaged, or so large that the graph rejects it too
