"""Names that PyTorch's libraries give to the layers of our trunks, by the names of Keras' layers.

Lite's layers have the names of EfficientNet's, except that blocks are numbered: block0, block1 ...
"""

from __future__ import annotations

from typing import Any, NamedTuple

from attr_extractor.model.trunks import efficientnet_lite


class Naming(NamedTuple):
    """Names of a library for a family of networks, by those of Keras."""

    library: str
    family: str
    marker: str  # a name by which a state dict is recognised
    outside: dict[str, str]  # of layers outside the blocks
    # prefix of a block: number of its stage from 1 and from 0, its index in the stage and in the
    # network from 0
    block: str
    first: dict[str, str]  # of layers in a block of the first stage
    later: dict[str, str]  # of layers in any other block


_TORCHVISION = {
    "expand_conv": "0.0",
    "expand_bn": "0.1",
    "dwconv": "1.0",
    "dwconv_bn": "1.1",
    "se_reduce": "2.fc1",
    "se_expand": "2.fc2",
    "project_conv": "3.0",
    "project_bn": "3.1",
}
_TORCHVISION_FIRST = {
    "dwconv": "0.0",
    "dwconv_bn": "0.1",
    "se_reduce": "1.fc1",
    "se_expand": "1.fc2",
    "project_conv": "2.0",
    "project_bn": "2.1",
}
_TIMM = {
    "expand_conv": "conv_pw",
    "expand_bn": "bn1",
    "dwconv": "conv_dw",
    "dwconv_bn": "bn2",
    "se_reduce": "se.conv_reduce",
    "se_expand": "se.conv_expand",
    "project_conv": "conv_pwl",
    "project_bn": "bn3",
}
_TIMM_FIRST = {
    "dwconv": "conv_dw",
    "dwconv_bn": "bn1",
    "se_reduce": "se.conv_reduce",
    "se_expand": "se.conv_expand",
    "project_conv": "conv_pw",
    "project_bn": "bn2",
}
_EFFICIENTNET_PYTORCH = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "dwconv_bn": "_bn1",
    "se_reduce": "_se_reduce",
    "se_expand": "_se_expand",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_RESNET = {
    "0_conv": "downsample.0",
    "0_bn": "downsample.1",
    "1_conv": "conv1",
    "1_bn": "bn1",
    "2_conv": "conv2",
    "2_bn": "bn2",
    "3_conv": "conv3",
    "3_bn": "bn3",
}
NAMINGS = (
    Naming(
        "torchvision",
        "EfficientNet",
        "features.1.0.block.0.0.weight",
        {
            "stem_conv": "features.0.0",
            "stem_bn": "features.0.1",
            "top_conv": "features.8.0",
            "top_bn": "features.8.1",
            "predictions": "classifier.1",
        },
        "features.{stage}.{index}.block.",
        _TORCHVISION_FIRST,
        _TORCHVISION,
    ),
    Naming(
        "timm",
        "EfficientNet",
        "conv_stem.weight",
        {
            "stem_conv": "conv_stem",
            "stem_bn": "bn1",
            "top_conv": "conv_head",
            "top_bn": "bn2",
            "predictions": "classifier",
        },
        "blocks.{stage_from_0}.{index}.",
        _TIMM_FIRST,
        _TIMM,
    ),
    Naming(
        "efficientnet_pytorch",
        "EfficientNet",
        "_conv_stem.weight",
        {
            "stem_conv": "_conv_stem",
            "stem_bn": "_bn0",
            "top_conv": "_conv_head",
            "top_bn": "_bn1",
            "predictions": "_fc",
        },
        "_blocks.{number}.",
        _EFFICIENTNET_PYTORCH,
        _EFFICIENTNET_PYTORCH,
    ),
    # also timm's
    Naming(
        "torchvision",
        "ResNet",
        "layer1.0.conv1.weight",
        {"conv1_conv": "conv1", "conv1_bn": "bn1"},
        "layer{stage}.{index}.",
        _RESNET,
        _RESNET,
    ),
)
FAMILIES = {
    **{f"efficientnetb{i}": "EfficientNet" for i in range(5)},
    **{f"efficientnetlite{i}": "EfficientNet" for i in efficientnet_lite.SCALES},
    "resnet50": "ResNet",
}


def translated(network: Any, naming: Naming, trunk: str) -> dict[str, str]:
    """Return the library's names of a network's layers, without suffix, by Keras' names."""
    names = dict(naming.outside)
    numbers: dict[tuple[int, int], int] = {}
    for layer in network.layers:
        if not layer.weights or layer.name in names:
            continue
        stage, index, name = _place(layer.name, trunk)
        number = numbers.setdefault((stage, index), len(numbers))
        prefix = naming.block.format(
            stage=stage, stage_from_0=stage - 1, index=index, number=number
        )
        names[layer.name] = prefix + (naming.first if stage == 1 else naming.later)[name]
    return names


def _place(layer: str, trunk: str) -> tuple[int, int, str]:
    """Return a layer's stage from 1, its block in the stage from 0, and its name in the block."""
    if trunk == "resnet50":  # conv2_block1_0_conv
        outer, inner, name = layer.split("_", 2)
        return int(outer.removeprefix("conv")) - 1, int(inner.removeprefix("block")) - 1, name
    block, name = layer.removeprefix("block").split("_", 1)
    if "lite" in trunk:  # block0_dwconv
        before, index = efficientnet_lite.places(int(trunk[-1]))[int(block)]
        stage = before + 1
    else:  # block1a_dwconv
        stage, index = int(block[:-1]), ord(block[-1]) - ord("a")
    return stage, index, "dwconv_bn" if name == "bn" else name
