"""The paper's network in PyTorch with timm's EfficientNet, for `bench.py --what=step`.

Eager mode, channels_last, bfloat16 by autocast. No augmentation: PyTorch leaves it to the loader.
"""

from __future__ import annotations

import os

import timm
import torch
from torch import nn
from torch.nn import functional

from attr_extractor.config import AttentionConfig, Config
from attr_extractor.schema import Schema
from benchmarks import timing


def run(
    config: Config, schema: Schema, steps: int, records: str | None = None
) -> tuple[list[float], int]:
    """Return the seconds of timing.time_steps and the number of trained parameters."""
    torch.manual_seed(config.train.seed)
    torch.set_num_threads(os.cpu_count() or 1)  # as TensorFlow does
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Net(config, schema).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), config.train.learning_rate)
    batch = timing.made_up_batch(config, schema)
    pixels, labels = (torch.from_numpy(batch[name]).to(device) for name in ("pixels", "labels"))
    half = config.train.precision == "mixed_bfloat16"

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            logits = model(pixels)
        loss = masked_cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    trained = sum(parameter.numel() for parameter in model.parameters())
    return timing.time_steps(step, steps), trained


class Net(nn.Module):
    """Trunk, transformer block, pooling and one stack of layers per attribute."""

    def __init__(self, config: Config, schema: Schema):
        super().__init__()
        # without a head and its pooling; Keras' B0 drops paths at this rate by default
        self.trunk = timm.create_model(
            timing.TIMM_TRUNKS[config.model.trunk],
            num_classes=0,
            global_pool="",
            drop_path_rate=0.2,
        )
        pixels = self.trunk.pretrained_cfg
        self.register_buffer("mean", torch.tensor(pixels["mean"]) * 255)
        self.register_buffer("std", torch.tensor(pixels["std"]) * 255)
        width, attention = self.trunk.num_features, config.model.attention
        self.block = Block(width, attention) if attention.enabled else nn.Identity()
        first, second = config.model.hidden
        self.branches = nn.ModuleList(
            nn.Sequential(
                *[nn.Linear(width, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU()],
                nn.Linear(second, size),
            )
            for size in schema.sizes
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [B, H, W, 3] -> logits [B, V]."""
        photos = (pixels.float() - self.mean) / self.std
        features = self.trunk(photos.permute(0, 3, 1, 2))  # [B, D, h, w], pixels stay in place
        positions = features.flatten(2).transpose(1, 2)  # [B, N, D]
        pooled = self.block(positions).mean(1)  # [B, D]
        return torch.cat([branch(pooled) for branch in self.branches], 1)  # [B, V]


class Block(nn.Module):
    """Transformer block that normalises before its sublayers, like attr_extractor's block.

    nn.MultiheadAttention supports no key width other than D / heads; its fused kernel is used here.
    """

    def __init__(self, width: int, config: AttentionConfig):
        super().__init__()
        self.heads = config.num_heads
        inner = config.num_heads * config.key_dim
        self.qkv, self.out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.expand = nn.Linear(width, config.feed_forward_dim)
        self.reduce = nn.Linear(config.feed_forward_dim, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """[B, N, D] -> [B, N, D]."""
        qkv = self.qkv(self.norm1(positions)).unflatten(2, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, h, N, d]
        mixed = functional.scaled_dot_product_attention(query, key, value)
        hidden = positions + self.out(mixed.transpose(1, 2).flatten(2))
        return hidden + self.reduce(functional.relu(self.expand(self.norm2(hidden))))


def masked_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute equation 1: [B, V] twice -> a scalar; labels 1, 0, -1."""
    known = labels >= 0
    entropy = functional.binary_cross_entropy_with_logits(
        logits, (labels > 0).float(), reduction="none"
    )
    return torch.where(known, entropy, 0.0).sum() / len(labels)
