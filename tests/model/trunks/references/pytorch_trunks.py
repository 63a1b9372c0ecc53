"""Write pytorch_trunks.npz: features of two photos by torchvision, timm and efficientnet_pytorch.

The weights are random and made by NumPy from the names and shapes of a network's state dict, so
that a test without PyTorch has the same ones. To write the file again:

  pip install torch torchvision timm efficientnet_pytorch
  python tests/model/trunks/references/pytorch_trunks.py
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIZE = 112  # its maps are 56, 28, 14, 7 and 4 pixels wide: padding of even and odd sizes shows
CHANNELS = 16
FILE = Path(__file__).with_suffix(".npz")


class Network(NamedTuple):
    """A network of a library."""

    library: str
    name: str  # also that of its file, without suffix
    trunk: str  # ours


# every size in one naming; in the others sizes that differ in how often blocks repeat
NETWORKS = (
    *(Network("torchvision", f"efficientnet_b{i}", f"efficientnetb{i}") for i in range(5)),
    Network("torchvision", "resnet50", "resnet50"),
    Network("timm", "resnet50.a1_in1k", "resnet50"),
    *(
        Network("timm", f"{name}.{tag}", f"efficientnet{name[-2:]}")
        for name, tag in (
            ("efficientnet_b0", "ra_in1k"),
            ("efficientnet_b1", "ra4_e3600_r240_in1k"),
            ("efficientnet_b4", "ra2_in1k"),
            ("tf_efficientnet_b0", "ns_jft_in1k"),
            ("tf_efficientnet_b1", "ap_in1k"),
            ("tf_efficientnet_b4", "ap_in1k"),
        )
    ),
    *(Network("timm", f"efficientnet_lite{i}", f"efficientnetlite{i}") for i in (0, 1, 4)),
    *(Network("timm", f"tf_efficientnet_lite{i}", f"efficientnetlite{i}") for i in (0, 1, 4)),
    *(
        Network("efficientnet_pytorch", f"{kind}efficientnet-b{i}", f"efficientnetb{i}")
        for i, kind in ((0, ""), (1, "adv-"), (4, "adv-"))
    ),
)


def photos() -> np.ndarray:
    """Return two photos of coarse squares, uint8 [2, 112, 112, 3]."""
    squares = np.random.default_rng(0).integers(0, 256, [2, 14, 14, 3], dtype=np.uint8)
    return squares.repeat(8, axis=1).repeat(8, axis=2)


def gain_of(trunk: str) -> float:
    """Return a gain with which features depend on the photo and stay small."""
    if trunk == "resnet50":
        return 0.5
    return 0.7 if "lite" in trunk else 0.9 - 0.02 * int(trunk[-1])


def random_state(shapes: dict[str, list[int]], gain: float) -> dict[str, np.ndarray]:
    """Return a state dict with statistics of trained ones; `gain` is batch normalisation's."""
    generator = np.random.default_rng(1)
    state: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            array = np.array(1000, np.int64)
        elif name.endswith("running_var"):  # 1e-3 more or less shows
            array = generator.uniform(0.02, 0.06, shape).astype(np.float32)
        elif name.endswith("running_mean"):
            array = generator.normal(0, 0.05, shape).astype(np.float32)
        elif name.endswith("bias"):
            array = generator.normal(0, 0.1, shape).astype(np.float32)
        elif len(shape) == 1:
            array = generator.uniform(0.8 * gain, 1.2 * gain, shape).astype(np.float32)
        else:
            scale = math.sqrt(0.1 / math.prod(shape[1:]))
            array = generator.normal(0, scale, shape).astype(np.float32)
        state[name] = array
    return state


def summary(features: np.ndarray) -> np.ndarray:
    """Return numbers [2, 50] of features [2, h, w, C]: some channels, and moments of all."""
    step = features.shape[-1] // CHANNELS
    some = features[..., : step * CHANNELS : step]
    parts = [some.mean((1, 2)), some[:, 0, 0], some[:, -1, -1]]
    moments = [features.mean((1, 2, 3)), features.std((1, 2, 3))]
    return np.concatenate([*parts, np.stack(moments, axis=1)], axis=1)


def shapes_of(file: Any, network: Network) -> dict[str, list[int]]:
    """Return names and shapes of a network's state dict, from the open file."""
    return json.loads(file[f"{network.library}/{network.name}/shapes"].tobytes())


def features_of(file: Any, network: Network) -> np.ndarray:
    """Return the summary of a network's features, from the open file."""
    return file[f"{network.library}/{network.name}/features"]


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)


def made(network: Network) -> tuple[Any, Any, tuple[Any, Any]]:
    """Return a network, the function to its features, and mean and deviation of its pixels."""
    if network.library == "timm":
        import timm

        module = timm.create_model(network.name)
        pixels = (module.pretrained_cfg["mean"], module.pretrained_cfg["std"])
        return module, module.forward_features, pixels
    if network.library == "torchvision":
        import torch
        import torchvision

        module = getattr(torchvision.models, network.name)()
        return module, torch.nn.Sequential(*list(module.children())[:-2]), IMAGENET
    from efficientnet_pytorch import EfficientNet

    # without a size it pads by that of the photos, as TensorFlow does
    module = EfficientNet.from_name(network.name.removeprefix("adv-"), image_size=None)
    return module, module.extract_features, HALF if "adv-" in network.name else IMAGENET


def main() -> None:
    import torch

    arrays = {}
    for network in NETWORKS:
        module, extract, (mean, std) = made(network)
        module.eval()
        shapes = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
        state = random_state(shapes, gain_of(network.trunk))
        module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        pixels = (photos().astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
        with torch.no_grad():
            features = extract(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        key = f"{network.library}/{network.name}"
        text = json.dumps(shapes, separators=(",", ":"))
        arrays[f"{key}/shapes"] = np.frombuffer(text.encode(), np.uint8)
        arrays[f"{key}/features"] = summary(features.permute(0, 2, 3, 1).numpy())
        print(key, "mean and deviation", arrays[f"{key}/features"][:, -2:].tolist())
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
