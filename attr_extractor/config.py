"""Typed configuration of an experiment: a YAML file plus `--set section.key=value` overrides.

Every number of the paper and every choice it leaves open has a key. The defaults are those of
configs/pretrained.yaml, so a file that sets only `name` trains well; configs/paper.yaml has the
paper's values and marks which of them the paper leaves open.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated, Any, Dict, List, Literal, Sequence

from pydantic import Field, Strict, model_validator

from attr_extractor import storage, yaml_files
from attr_extractor.errors import InputError

Square = Literal["squeeze", "pad", "crop"]
Pixels = Annotated[int, Field(ge=32)]  # the smallest size that nearly every trunk accepts
Epoch = Annotated[int, Strict(False)]  # a mapping key: quoted in written files, as in JSON


def _without_retired(content: Any, key: str) -> Any:
    """Drop a key that no longer exists if it is off; config.yaml of older runs lists every key."""
    if isinstance(content, dict) and content.get(key) in (0, False):
        return {name: value for name, value in content.items() if name != key}
    return content


class DataConfig(yaml_files.Model):
    """Input pipeline: from records to batches."""

    image_size: Pixels = 160  # side of the model's square input
    square: Square = "squeeze"  # how photos are made square; crop cuts off necks and hems
    batch_size: int = Field(default=32, ge=1)  # photos per step, of all devices together
    shuffle_buffer: int = Field(default=8192, ge=1)  # encoded photos, 15 KiB each; two buffers


class AugmentationConfig(yaml_files.Model):
    """One random affine map per photo, the paper's five composed; then optional colour changes."""

    enabled: bool = True  # of all random changes of this section
    zoom: float = Field(default=0.0, ge=0, lt=1)  # scale drawn from 1 - zoom .. 1 + zoom
    shift: float = Field(default=0.0, ge=0, lt=1)  # fraction of the side, along each axis
    rotation: float = Field(default=0.0, ge=0, le=180)  # degrees
    shear: float = Field(default=0.0, ge=0, lt=90)  # degrees
    flip: float = Field(default=0.5, ge=0, le=1)  # probability of a left-right flip
    fill_mode: Literal["nearest", "reflect", "constant"] = "nearest"  # beyond the photo's edge
    brightness: float = Field(default=0.0, ge=0, le=1)  # keras-cv factor; 0 = off
    contrast: float = Field(default=0.0, ge=0, le=1)  # keras-cv factor; 0 = off
    saturation: float = Field(default=0.0, ge=0, le=1)  # keras-cv factor; 0 = off
    rand_operations: int = Field(default=0, ge=0)  # RandAugment: colour operations per photo
    rand_magnitude: float = Field(default=0.5, ge=0, le=1)  # RandAugment: their magnitude
    mixup: float = Field(default=0.25, ge=0, le=1)  # fraction of photos blended with another
    cutmix: float = Field(default=0.25, ge=0, le=1)  # fraction of photos with a patch of another

    @model_validator(mode="before")
    @classmethod
    def _accept_older_files(cls, content: Any) -> Any:
        return _without_retired(content, "cutout")

    @model_validator(mode="after")
    def _a_photo_is_mixed_one_way(self) -> AugmentationConfig:
        if self.mixup + self.cutmix > 1:
            raise ValueError("mixup and cutmix: at most 1 together, as a photo is mixed one way")
        return self


class AttentionConfig(yaml_files.Model):
    """The transformer block over the N positions of the trunk's last feature map."""

    enabled: bool = True  # off: the positions are pooled without the block
    num_heads: int = Field(default=8, ge=1)  # of self-attention
    key_dim: int = Field(default=32, ge=1)  # per head
    feed_forward_dim: int = Field(default=512, ge=1)  # hidden units of the position-wise network
    initial_scale: float = Field(default=0.1, ge=0)  # of the block's residual branch, per channel

    @model_validator(mode="before")
    @classmethod
    def _accept_older_files(cls, content: Any) -> Any:
        return _without_retired(content, "learned_positions")


class ContextConfig(yaml_files.Model):
    """What is known of a product besides its photo; see model/evidence.py."""

    known: bool = False  # the product's filled cells
    text: bool = False  # the words of the schema's text columns
    width: int = Field(default=128, ge=1)  # numbers of a vector

    @property
    def names(self) -> List[str]:
        """Names of the network's inputs besides the photo."""
        return [name for name in ["known", "text"] if getattr(self, name)]


class ModelConfig(yaml_files.Model):
    """Trunk, attention block and branches."""

    trunk: str = "efficientnetlite0"  # a name in `trunk.TRUNKS`, or hub:PRESET_OR_FOLDER
    weights: str = "imagenet"  # none, imagenet (hub: the preset's), or the path of a weights file
    # padding, epsilon of batch normalisation and, in ResNet, strides; a run's config.yaml has the
    # style and pixels of its weights. Empty: as the weights file; without one as Keras
    style: Literal["", "tensorflow", "pytorch"] = ""
    # ImageNet's mean and deviation, or -1 .. 1. Empty: as the weights file; without one as Keras
    pixels: Literal["", "imagenet", "inception"] = ""
    attention: AttentionConfig = AttentionConfig()
    hidden: List[int] = Field(default=[128, 128], min_length=2, max_length=2)  # of each branch
    prior_bias: bool = True  # start output biases at log(p / (1 - p)) of each value
    batch_norm_momentum: float = Field(default=0.9, gt=0, lt=1)  # of moving statistics
    fuse_stages: int = Field(default=5, ge=1)  # number of last trunk resolutions that are pooled
    dropout: float = Field(default=0.2, ge=0, lt=1)  # rate, on the pooled features
    exclusive_output: Literal["sigmoid", "softmax"] = "sigmoid"  # the paper: sigmoid
    context: ContextConfig = ContextConfig()

    @model_validator(mode="before")
    @classmethod
    def _accept_older_files(cls, content: Any) -> Any:
        return _without_retired(content, "correlation_rank")


class LossConfig(yaml_files.Model):
    """Loss: equation 1, the choices it leaves open, and alternatives to it."""

    # N_t of an attribute: all samples of the batch, or those with a known label
    normalize_by: Literal["batch", "observed"] = "batch"
    reduce_values: Literal["sum", "mean"] = "sum"  # over the values of an attribute
    # what a missing label counts as, see model/partial_labels.py; the paper: mask
    missing: Literal["mask", "absent", "expected", "selective", "pseudo"] = "mask"
    kind: Literal["cross_entropy", "focal", "asymmetric"] = "cross_entropy"  # of each value
    gamma: float = Field(default=2.0, ge=0)  # focal: all values; asymmetric: absent values
    gamma_present: float = Field(default=0.0, ge=0)  # asymmetric: present values
    margin: float = Field(default=0.05, ge=0, lt=1)  # asymmetric: lowers absent values' scores
    class_balance: float = Field(default=0.0, ge=0, lt=1)  # beta of effective numbers; 0 = off

    @model_validator(mode="before")
    @classmethod
    def _accept_older_files(cls, content: Any) -> Any:
        if isinstance(content, dict) and isinstance(content.get("mask"), bool):
            rest = {name: value for name, value in content.items() if name != "mask"}
            return rest if content["mask"] else dict(rest, missing="absent")
        return content


class TeacherConfig(yaml_files.Model):
    """A trained run whose scores are soft labels; see training/teacher.py."""

    run: str = ""  # finished run of the same schema; "" = no teacher
    weight: float = Field(default=0.5, ge=0, le=1)  # of the teacher's part of the loss
    temperature: float = Field(default=2.0, gt=0)  # divides the logits of both networks


class TrainConfig(yaml_files.Model):
    """Optimizer, learning-rate schedule, checkpoints and devices."""

    epochs: int = Field(default=24, ge=1)  # passes over the training photos
    image_sizes: Dict[Epoch, Pixels] = {}  # by first epoch (from 0); {}: data.image_size
    optimizer: Literal["adam", "adamw"] = "adamw"  # adamw: with decoupled weight decay
    learning_rate: float = Field(default=1e-3, gt=0)  # at the end of the warm-up
    trunk_rate: float = Field(default=0.5, ge=0)  # the trunk's learning rate / the others'
    context_rate: float = Field(default=3.0, gt=0)  # the learning rate of `context` / the others'
    swapped_cells: float = Field(default=0.05, ge=0, lt=1)  # share of known cells made wrong
    first_layer_rate: float = Field(default=1.0, gt=0)  # / last trunk layer's; geometric between
    # positions, pooled: the trunk stays frozen, and its outputs are computed once per photo
    features: Literal["none", "positions", "pooled"] = "none"
    feature_views: int = Field(default=1, ge=1)  # per training photo; the first is not augmented
    freeze_trunk_epochs: int = Field(default=0, ge=0)  # first epochs without training the trunk
    schedule: Literal["constant", "exponential", "cosine"] = "cosine"  # of the learning rate
    decay: float = Field(default=0.75, gt=0, le=1)  # exponential: factor per epoch
    warmup_epochs: float = Field(default=1.0, ge=0)  # linear from 0, any schedule
    weight_decay: float = Field(default=0.05, ge=0)  # adamw only
    clip_norm: float = Field(default=0.0, ge=0)  # global norm of the gradients; 0 = off
    average: float = Field(default=0.998, ge=0, lt=1)  # momentum of the weights' moving average
    keep: Literal["best", "last"] = "last"  # which weights are written to weights.npz
    precision: Literal["float32", "mixed_bfloat16"] = "mixed_bfloat16"  # of the training step
    # one_device; mirrored: all GPUs of a machine; multi_worker: the machines of TF_CONFIG; tpu
    strategy: Literal["one_device", "mirrored", "multi_worker", "tpu"] = "one_device"
    # activations: the trunk's and the resampling of photos; step: the whole step, slow on CPUs
    xla: Literal["off", "activations", "step"] = "activations"
    deterministic: bool = False  # fixed order of summation: bit-exact repeats, slower
    teacher: TeacherConfig = TeacherConfig()
    init_from: str = ""  # finished run of the same schema and network to start from
    checkpoint_minutes: float = Field(default=10.0, gt=0)  # in addition to the end of each epoch
    tracker: Literal["none", "mlflow", "wandb"] = "none"  # may change when a run is resumed
    seed: int = Field(default=0, ge=0, lt=2**32)  # of initial weights, order and noise

    @property
    def xla_loops(self) -> bool:
        """Whether XLA compiles activations and the resampling of photos."""
        return self.xla != "off"

    @model_validator(mode="after")
    def _decay_has_its_optimizer(self) -> TrainConfig:
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError("weight_decay needs optimizer: adamw")
        return self

    @model_validator(mode="after")
    def _image_sizes_have_their_epochs(self) -> TrainConfig:
        epochs = list(self.image_sizes)
        if epochs and (epochs[0] != 0 or epochs != sorted(epochs) or epochs[-1] >= self.epochs):
            raise ValueError(
                f"image_sizes: write ascending epochs from 0 on, below {self.epochs}, not {epochs}"
            )
        return self


class AnswersConfig(yaml_files.Model):
    """Post-processing; the paper's threshold is a key of the schema (0.5 by default)."""

    gate_by_category: bool = False  # only values that the predicted category has; paper: off


class Config(yaml_files.Model):
    """Configuration of an experiment."""

    name: str  # of the experiment
    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    answers: AnswersConfig = AnswersConfig()

    @model_validator(mode="after")
    def _photos_end_at_the_models_size(self) -> Config:
        sizes, final = list(self.train.image_sizes.values()), self.data.image_size
        if sizes and sizes[-1] != final:
            raise ValueError(f"train.image_sizes ends at {sizes[-1]}, data.image_size is {final}")
        return self

    @model_validator(mode="after")
    def _features_are_of_one_frozen_trunk(self) -> Config:
        train = self.train
        if train.features == "none":
            return self
        if train.image_sizes or train.strategy not in ("one_device", "mirrored"):
            raise ValueError("train.features needs one image size and one process")
        if train.teacher.run:
            raise ValueError("train.features: a teacher needs photos; use train.features: none")
        if train.features == "pooled" and self.model.attention.enabled:
            raise ValueError("train.features: pooled needs model.attention.enabled: false")
        return self

    @model_validator(mode="after")
    def _clipping_is_of_the_photos_gradients(self) -> Config:
        if self.train.clip_norm and self.model.context.names:
            raise ValueError(
                "train.clip_norm needs model.context off: the norm of all gradients would change "
                "the training on photos"
            )
        return self

    @model_validator(mode="after")
    def _a_teacher_labels_every_photo(self) -> Config:
        if self.train.teacher.run and self.loss.normalize_by != "batch":
            raise ValueError("train.teacher needs loss.normalize_by: batch: it labels every photo")
        if self.train.teacher.run and self.train.strategy == "tpu":
            raise ValueError("train.teacher: a TPU cannot resize photos for it; use a GPU")
        return self

    @model_validator(mode="after")
    def _a_missing_label_has_no_softmax(self) -> Config:
        missing = self.loss.missing
        if missing != "mask" and self.model.exclusive_output == "softmax":
            raise ValueError(f"loss.missing: {missing} needs model.exclusive_output: sigmoid")
        return self

    @property
    def untracked(self) -> Config:
        """The config without its tracker: equal for all commands that resume one experiment."""
        train = self.train.model_copy(update={"tracker": "none"})
        return self.model_copy(update={"train": train})

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> Config:
        """Read a YAML file and apply `section.key=value` overrides in order.

        Args:
          path: a file, or the name of a config of this package, such as `pretrained`.

        Raises:
          InputError: if the file is missing, or a key is unknown or has a value of the wrong type;
            the message names the key.
        """
        path = yaml_files.find(path, yaml_files.CONFIGS, "the config")
        content = yaml_files.read_mapping(path, "the config file")
        for override in overrides:
            content = _with_override(content, override)
        return yaml_files.validate(cls, content, str(path))

    def write(self, path: str | Path) -> None:
        """Write every key, including defaults, as YAML; see `storage.write` for errors."""
        storage.write(path, yaml_files.dump(self).encode())


def _with_override(content: Dict[str, Any], override: str) -> Dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: write it as section.key=value")
    content = copy.deepcopy(content)
    *sections, last = key.split(".")
    place = content
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise InputError(f"--set {override}: {section!r} is not a section of the config")
    place[last] = yaml_files.load(text, f"--set {override}")
    return content
