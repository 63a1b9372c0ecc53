"""Demo catalogue: the parts of a photo that are independent of the product - format, pose,
background, shadow and light. A scene has a separate random stream, so the same scene can show two
products that differ in only one attribute.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from attr_extractor.demo.surface import Rgb, lighten, mix

SUPERSAMPLING = 2
FORMATS: tuple[tuple[int, int], ...] = ((256, 320), (240, 320), (272, 320))
BACKGROUNDS: tuple[str, ...] = ("studio", "gradient", "wall", "floor", "room")
MAX_ANGLE = 9.0  # degrees
MAX_SHIFT = 0.03  # fraction of the photo's height
SCALES = (0.88, 1.04)
_BICUBIC = Image.Resampling.BICUBIC
_WALLS: tuple[Rgb, ...] = ((214, 200, 184), (186, 204, 206), (206, 190, 204), (196, 206, 180),
                           (226, 208, 170), (166, 176, 190))  # fmt: skip
_WOODS: tuple[Rgb, ...] = ((186, 148, 106), (150, 112, 78), (206, 176, 138))


@dataclasses.dataclass(frozen=True)
class Scene:
    """Setting and camera parameters of one photo."""

    size: tuple[int, int]  # width, height in pixels
    background: str
    angle: float  # degrees, clockwise
    scale: float
    shift: tuple[float, float]  # fraction of the height
    spread: float  # of the arms
    presence: float  # 0 .. 1: person, mannequin, hanger or flat lay, if the category allows it
    tone: int  # index of skin or mannequin colour
    flipped: bool
    light: float  # brightness, about 1
    light_angle: float
    seed: int  # of the fine detail: planks, furniture, folds

    @classmethod
    def random(cls, rng: np.random.Generator) -> Scene:
        """Sample a background, pose and light from `rng`."""
        return cls(
            size=FORMATS[int(rng.integers(len(FORMATS)))],
            background=BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))],
            angle=float(rng.uniform(-MAX_ANGLE, MAX_ANGLE)),
            scale=float(rng.uniform(*SCALES)),
            shift=(float(rng.uniform(-1, 1)) * MAX_SHIFT, float(rng.uniform(-1, 1)) * MAX_SHIFT),
            spread=float(rng.uniform(0, 1)),
            presence=float(rng.uniform()),
            tone=int(rng.integers(12)),
            flipped=bool(rng.integers(2)),
            light=float(rng.uniform(0.94, 1.04)),
            light_angle=float(rng.uniform(0, 2 * math.pi)),
            seed=int(rng.integers(2**31)),
        )

    @property
    def layer_size(self) -> tuple[int, int]:
        """Return width and height of the supersampled drawing in pixels."""
        return self.size[0] * SUPERSAMPLING, self.size[1] * SUPERSAMPLING

    def matrix(self, frame: tuple[float, float, float, float], may_flip: bool) -> np.ndarray:
        """Return the affine map (float[2, 3]) from body units to layer pixels.

        `frame` (left, top, right, bottom) is scaled to fit into the layer.
        """
        left, top, right, bottom = frame
        width, height = self.layer_size
        unit = min(width / (right - left), height / (bottom - top)) * self.scale
        a = math.radians(self.angle)
        turn = unit * np.asarray([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        if may_flip and self.flipped:
            turn = turn @ np.diag([-1.0, 1.0])
        middle = np.asarray([(left + right) / 2, (top + bottom) / 2])
        target = np.asarray(
            [width / 2 + self.shift[0] * height, height / 2 + self.shift[1] * height]
        )
        return np.concatenate([turn, (target - turn @ middle)[:, None]], axis=1)


def compose(layer: Image.Image, scene: Scene) -> Image.Image:
    """Compose the photo (RGB): background, shadow, product with folds, light."""
    rng = np.random.default_rng(scene.seed)
    photo = _background(scene, rng)
    product = layer.reduce(SUPERSAMPLING)
    alpha = product.getchannel("A")
    # The blurred outline is used twice: as the shadow and to shade the edges.
    soft = alpha.reduce(8).filter(ImageFilter.GaussianBlur(1.1))
    _cast_shadow(photo, soft, scene)
    round_edges = soft.point(lambda a: 200 + a * 55 // 255).resize(scene.size, _BICUBIC)
    shade = ImageChops.multiply(_folds(scene, rng), round_edges)
    shaded = ImageChops.multiply(product.convert("RGB"), Image.merge("RGB", [shade] * 3))
    photo.paste(shaded, (0, 0), alpha)
    return ImageChops.multiply(photo, _light(scene)).filter(_SOFTEN)


# Slight camera blur; also hides the lack of texture finer than a pixel.
_SOFTEN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, 8, 1, 0, 1, 0))


def _cast_shadow(photo: Image.Image, soft: Image.Image, scene: Scene) -> None:
    width, height = scene.size
    shadow = soft.point(lambda a: a * 0.38).resize(scene.size, _BICUBIC)
    offset = (round(0.02 * width * math.cos(scene.light_angle)), round(0.02 * height))
    photo.paste((30, 26, 24), offset, shadow)


def _folds(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Return soft waves across the cloth that darken it by at most 12 %."""
    x = np.linspace(0, 1, 24)[None, :, None]
    y = np.linspace(0, 1, 30)[:, None, None]
    waves = sum(
        np.sin(2 * math.pi * (fx * x + fy * y) + phase)
        for fx, fy, phase in zip(
            rng.uniform(2, 5, 3), rng.uniform(-1.6, 1.6, 3), rng.uniform(0, 6, 3)
        )
    )
    shade = np.broadcast_to(255 * (0.96 + 0.02 * waves), (30, 24, 1)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(shade[:, :, 0]).resize(scene.size, _BICUBIC)


def _light(scene: Scene) -> Image.Image:
    x = np.linspace(-1, 1, 8)[None, :]
    y = np.linspace(-1, 1, 8)[:, None]
    slope = math.cos(scene.light_angle) * x + math.sin(scene.light_angle) * y
    values = (
        (255 * (min(scene.light + 0.03, 1.03) - 0.03 + 0.045 * slope)).clip(0, 255).astype(np.uint8)
    )
    return Image.fromarray(values).resize(scene.size, _BICUBIC).convert("RGB")


def _background(scene: Scene, rng: np.random.Generator) -> Image.Image:
    if scene.background == "studio":
        return Image.new("RGB", scene.size, lighten((225, 225, 228), float(rng.uniform(0.2, 1.0))))
    if scene.background == "gradient":
        wall = _WALLS[int(rng.integers(len(_WALLS)))]
        ends = np.asarray([lighten(wall, 0.75), mix(wall, (0, 0, 0), 0.1)], np.float64)
        ramp = np.linspace(ends[0], ends[1], 16).astype(np.uint8)[:, None, :]
        return Image.fromarray(ramp).resize(scene.size, _BICUBIC)
    if scene.background == "wall":
        return _wall(scene, rng)
    if scene.background == "floor":
        return _planks(scene.size, rng)
    return _room(scene, rng)


def _wall(scene: Scene, rng: np.random.Generator) -> Image.Image:
    width, height = scene.size
    color = _WALLS[int(rng.integers(len(_WALLS)))]
    photo = Image.new("RGB", scene.size, color)
    draw = ImageDraw.Draw(photo)
    edge = round(height * rng.uniform(0.8, 0.9))
    draw.rectangle((0, edge, width, height), fill=mix(color, (90, 70, 50), 0.4))
    draw.rectangle((0, edge - 7, width, edge), fill=lighten(color, 0.6))
    return photo


def _planks(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    width, height = size
    wood = _WOODS[int(rng.integers(len(_WOODS)))]
    photo = Image.new("RGB", size)
    draw = ImageDraw.Draw(photo)
    plank = int(rng.integers(28, 44))
    tones = rng.uniform(-0.14, 0.14, height // plank + 2)
    joints = rng.uniform(0, width, height // plank + 2)
    for k, (tone, joint) in enumerate(zip(tones.tolist(), joints.tolist())):
        color = lighten(wood, tone) if tone > 0 else mix(wood, (0, 0, 0), -tone)
        top = k * plank
        draw.rectangle((0, top, width, top + plank), fill=color)
        seam = mix(color, (0, 0, 0), 0.25)
        draw.line((0, top, width, top), fill=seam, width=2)
        draw.line((joint, top, joint, top + plank), fill=seam, width=2)
        for grain in (0.3, 0.55, 0.8):
            y = top + grain * plank
            draw.line((0, y, width, y + 2), fill=mix(color, (0, 0, 0), 0.07), width=1)
    return photo


def _room(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Draw window, shelf and carpet at low resolution and upsample them: a cheap blur."""
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    small = Image.new("RGB", (20, 25), wall)
    draw = ImageDraw.Draw(small)
    draw.rectangle((0, 19, 20, 25), fill=mix(wall, (80, 56, 40), 0.55))
    boxes = zip(rng.integers(0, 18, 5).tolist(), rng.integers(2, 17, 5).tolist(),
                rng.integers(2, 6, 5).tolist(), rng.integers(2, 8, 5).tolist())  # fmt: skip
    tints = rng.integers(60, 235, (5, 1)) + rng.integers(-18, 18, (5, 3))
    for (x, y, w, h), tint in zip(boxes, tints.tolist()):
        draw.rectangle((x, y, x + w, y + h), fill=mix(wall, tuple(tint), 0.45))
    return small.resize(scene.size, _BICUBIC)
