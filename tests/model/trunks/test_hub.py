"""KerasHub's backbones as trunks: tiny ones with random weights, saved to a folder as presets.

Each backbone is compared with itself, called without this package on pixels normalised by NumPy.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import functional, network, noise
from attr_extractor.model.keras_versions import tf_variable
from attr_extractor.model.trunks import trunk
from attr_extractor.schema import Schema
from attr_extractor.serving import export
from attr_extractor.serving.fold import fold
from attr_extractor.training import fit, schedule
from attr_extractor.training.run_dir import RunDir
from tests.conftest import require_bad_input, run_tool

keras_hub = pytest.importorskip(
    "keras_hub", reason="KerasHub requires Keras 3, hence Python 3.12: pip install '.[hub]'"
)

SIZE = 32
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
SHAPE = (SIZE, SIZE, 3)
VIT = {"image_shape": SHAPE, "patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
ENCODER = {**VIT, "intermediate_dim": 32}
DINO = {**ENCODER, "num_register_tokens": 3}
TEXT = {
    "vocabulary_size": 32,
    "embedding_dim": 16,
    "hidden_dim": 16,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_dim": 32,
}
SETTINGS = {  # of each backbone's class
    "ViTBackbone": {**VIT, "mlp_dim": 32},
    "DeiTBackbone": ENCODER,
    # as its presets: positions of another size, which it interpolates
    "DINOV2Backbone": {**DINO, "position_embedding_shape": (64, 64)},
    "DINOV3Backbone": DINO,
    "SigLIPVisionEncoder": ENCODER,
    "SwinTransformerBackbone": {
        "image_shape": SHAPE,
        "embed_dim": 16,
        "depths": [2, 2],
        "num_heads": [2, 2],
        "window_size": 4,
        "patch_size": 2,
    },
    "MiTBackbone": {
        "image_shape": SHAPE,
        "layerwise_depths": [1, 1],
        "num_layers": 2,
        "layerwise_num_heads": [1, 2],
        "layerwise_sr_ratios": [2, 1],
        "max_drop_path_rate": 0.1,
        "layerwise_patch_sizes": [7, 3],
        "layerwise_strides": [4, 2],
        "hidden_dims": [16, 32],
    },
    "ResNetBackbone": {
        "image_shape": SHAPE,
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 64],
        "stackwise_num_blocks": [1, 1],
        "stackwise_num_strides": [1, 2],
        "block_type": "basic_block",
    },
    "EfficientNetBackbone": {
        "input_shape": SHAPE,
        "stackwise_kernel_sizes": [3, 3],
        "stackwise_num_repeats": [1, 2],
        "stackwise_input_filters": [8, 8],
        "stackwise_output_filters": [8, 16],
        "stackwise_expansion_ratios": [1, 4],
        "stackwise_squeeze_and_excite_ratios": [0.25, 0.25],
        "stackwise_strides": [1, 2],
        "stackwise_block_types": ["v1", "v1"],
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "stackwise_force_input_filters": [0, 0],
        "stackwise_nores_option": [False, False],
    },
    "MobileNetBackbone": {
        "image_shape": SHAPE,
        "stackwise_expansion": [[16, 16]],
        "stackwise_num_blocks": [2],
        "stackwise_num_filters": [[8, 8]],
        "stackwise_kernel_size": [[3, 3]],
        "stackwise_num_strides": [[2, 1]],
        "stackwise_se_ratio": [[None, 0.25]],
        "stackwise_activation": [["relu", "hard_swish"]],
        "stackwise_padding": [[1, 1]],
        "input_activation": "hard_swish",
        "output_activation": "hard_swish",
        "input_num_filters": 8,
        "output_num_filters": 16,
        "last_layer_filter": 16,
        "depthwise_filters": 8,
        "depthwise_stride": 2,
        "depthwise_residual": False,
        "squeeze_and_excite": 0.5,
    },
    "CSPNetBackbone": {
        "image_shape": SHAPE,
        "stem_filters": 8,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 1],
        "stackwise_strides": [1, 2],
        "stackwise_num_filters": [16, 32],
        "block_type": "dark_block",
        "stage_type": "csp",
        "expand_ratio": [2.0, 2.0],
    },
    "DenseNetBackbone": {
        "image_shape": SHAPE,
        "stackwise_num_repeats": [1, 1],
        "growth_rate": 4,
    },
    "HGNetV2Backbone": {
        "image_shape": SHAPE,
        "depths": [1, 1],
        "embedding_size": 8,
        "hidden_sizes": [16, 32],
        "stem_channels": [3, 8, 8],
        "hidden_act": "relu",
        "apply_downsample": [False, True],
        "use_learnable_affine_block": False,
        "use_lightweight_conv_block": [False, False],
        "stackwise_stage_filters": [[8, 8, 16, 1, 2, 3], [16, 8, 32, 1, 2, 3]],
    },
    "VGGBackbone": {
        "image_shape": SHAPE,
        "stackwise_num_repeats": [1, 1],
        "stackwise_num_filters": [8, 16],
    },
    "XceptionBackbone": {
        "image_shape": SHAPE,
        "stackwise_conv_filters": [[8, 8], [16, 16], [16, 16]],
        "stackwise_pooling": [False, True, False],
    },
}
PAIRS = ("SigLIP", "CLIP", "MetaCLIP2")
NOT_POSITIONS = {  # class and register tokens, from the papers; DeiT also distils
    "ViTBackbone": 1,
    "DeiTBackbone": 2,
    "DINOV2Backbone": 1 + 3,
    "DINOV3Backbone": 1 + 3,
    "SigLIPVisionEncoder": 0,
    "SigLIPBackbone": 0,
    "CLIPBackbone": 1,
    "MetaCLIP2Backbone": 1,
    "SwinTransformerBackbone": 0,
}
QUICK = ("ViTBackbone", "DINOV2Backbone", "SigLIPBackbone", "ResNetBackbone")
EVERY = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in (*SETTINGS, *(f"{pair}Backbone" for pair in PAIRS))
]


def make(name: str):
    """Return a backbone whose weights are all random; fresh tokens and offsets are 0."""
    keras.utils.set_random_seed(0)
    family = name.removesuffix("Backbone")
    if family in PAIRS:
        encoder = getattr(keras_hub.models, f"{family}VisionEncoder")(**ENCODER, name="vision")
        text = getattr(keras_hub.models, f"{family}TextEncoder")(**TEXT, name="text")
        width = {} if family == "SigLIP" else {"projection_dim": 16}
        backbone = getattr(keras_hub.models, name)(
            vision_encoder=encoder, text_encoder=text, **width
        )
    else:
        backbone = getattr(keras_hub.models, name)(**SETTINGS[name])
    generator = np.random.default_rng(0)
    for weight in backbone.trainable_weights:
        weight.assign(weight + generator.normal(0, 0.05, weight.shape))
    return backbone


def save(backbone, folder: Path) -> Path:
    backbone.save_to_preset(str(folder))
    converter = keras_hub.layers.ImageConverter(
        scale=(1 / 255 / STD).tolist(), offset=(-MEAN / STD).tolist()
    )
    converter.save_to_preset(str(folder))
    return folder


@pytest.fixture(scope="module")
def presets(tmp_path_factory) -> Path:
    """Return a folder with the presets `vit`, `dinov2` and `resnet`."""
    folder = tmp_path_factory.mktemp("presets")
    for name in ("ViT", "DINOV2", "DINOV3", "ResNet"):
        save(make(f"{name}Backbone"), folder / name.lower())
    return folder


def config_of(folder: Path, size: int = SIZE, **model) -> Config:
    attention = {"num_heads": 2, "key_dim": 4, "feed_forward_dim": 8}
    given = {"attention": attention, "hidden": [8, 8], "fuse_stages": 1, **model}
    content = {"trunk": f"hub:{folder}", **given}
    return Config.model_validate({"name": "t", "data": {"image_size": size}, "model": content})


def built(folder: Path, size: int = SIZE, **model):
    return trunk.build(config_of(folder, size, **model).model, size)


def photos_of(size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [2, size, size, 3], dtype=np.uint8)


def expected_map(backbone, name: str) -> np.ndarray:
    """Return the backbone's own features of hand-normalised pixels, as a map [B, h, w, D]."""
    vision = getattr(backbone, "vision_encoder", backbone)
    if name.startswith("SigLIP"):
        vision = keras.Model(vision.inputs, vision.head.input)  # its output is pooled
    features = vision(np.float32(photos_of() / 255 - MEAN) / STD, training=False)
    if isinstance(features, dict):
        features = features["stage2"]
    features = np.asarray(features)
    if features.ndim == 4:
        return features
    positions = features[:, NOT_POSITIONS[name] :]
    side = {"SwinTransformerBackbone": 8}.get(name, SIZE // 16)
    return positions.reshape(len(positions), side, side, -1)


@pytest.mark.filterwarnings("ignore:.*destroy the mask:UserWarning")  # within Swin
@pytest.mark.parametrize("name", EVERY)
def test_features_are_those_of_keras_hub_and_train_and_fold(name, schema, tmp_path):
    folder = save(make(name), tmp_path / "preset")
    expected = expected_map(keras_hub.models.Backbone.from_preset(str(folder)), name)
    own = network.build(schema, config_of(folder))
    (pixels,) = own.logits.inputs
    last_map = keras.Model(pixels, own.maps[-1])
    found = last_map(photos_of(), training=False).numpy()
    assert expected.std() > 1e-3  # the features say something
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())

    with tf.GradientTape() as tape:
        value = tf.reduce_sum(last_map(photos_of(), training=True) ** 2)
    variables = [tf_variable(each) for each in last_map.trainable_variables]
    gradients = tape.gradient(value, variables)
    assert None not in gradients
    assert all(np.isfinite(np.asarray(tf.convert_to_tensor(g))).all() for g in gradients)

    logits, _ = fold(own)(photos_of(), training=False)
    np.testing.assert_allclose(logits, own.logits(photos_of(), training=False), atol=1e-5)


def test_the_class_token_has_no_part_in_the_map(presets):
    """Changing the last normalisation of all tokens but the positions changes nothing."""
    own = built(presets / "vit")
    tokens = own.get_layer("vit_encoder").output
    assert tokens.shape == (None, 1 + 4, 16)
    both = keras.Model(own.inputs, [tokens, own.output])
    every, found = both(photos_of())
    np.testing.assert_array_equal(found, np.reshape(every[:, 1:], [2, 2, 2, 16]))
    assert own.output.shape == (None, 2, 2, 16)
    assert own.inputs[0].dtype == "uint8"


def test_a_trunk_is_flat_and_its_layers_know_the_new_graph(presets):
    for name in ("vit", "dinov2", "resnet"):
        own = built(presets / name)
        assert not any(isinstance(layer, keras.Model) for layer in own.layers)
        readers = functional.readers(own)
        assert set(readers) >= {layer.name for layer in own.layers[:-1]}
        again = keras.Model(own.inputs, own.layers[-2].output)  # connected to our input
        assert np.isfinite(np.asarray(tf.nest.flatten(again(photos_of()))[0])).all()


def test_photos_of_another_size_have_more_positions(presets):
    for name in ("dinov2", "dinov3"):
        assert built(presets / name, 64).output.shape == (None, 4, 4, 16)
    assert built(presets / "resnet", 64).output.shape == (None, 8, 8, 64)


def test_the_presets_own_size_may_leave_a_rest_of_a_patch(tmp_path):
    """SigLIP So400m has patches of 14 px at 384 px."""
    encoder = keras_hub.models.SigLIPVisionEncoder(**{**ENCODER, "image_shape": (40, 40, 3)})
    own = built(save(encoder, tmp_path / "siglip"), 40)
    photos = photos_of(40)
    photos[:, 32:] = photos[:, :8]  # the rest has no effect
    np.testing.assert_array_equal(own(photos), own(photos_of(40)))
    assert own.output.shape == (None, 2, 2, 16)


def test_without_weights_the_architecture_is_the_presets(presets):
    keras.utils.set_random_seed(1)
    trained, fresh = built(presets / "vit"), built(presets / "vit", weights="none")
    shapes = [[w.shape for w in each.get_weights()] for each in (trained, fresh)]
    assert shapes[0] == shapes[1]
    assert not np.allclose(trained(photos_of()), fresh(photos_of()))
    assert built(presets / "vit", 64, weights="none").output.shape == (None, 4, 4, 16)


def test_batch_normalisation_has_the_configs_momentum(presets):
    own = built(presets / "resnet", batch_norm_momentum=0.83)
    norms = [x for x in own.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {norm.momentum for norm in norms} == {0.83} and len(norms) == 6


def test_a_convolutional_backbone_fuses_its_resolutions(schema, presets):
    own = network.build(schema, config_of(presets / "resnet", fuse_stages=2))
    heights = [each.shape[1] for each in own.maps]
    assert heights == sorted(heights, reverse=True) and heights[-2:] == [8, 4]
    assert own.logits.get_layer(network.POOLED).output.shape[-1] == 64 + 64


def test_mixed_precision_reaches_the_backbone(schema, presets):
    own = network.build(schema, config_of(presets / "vit"), precision="mixed_bfloat16")
    block = own.logits.get_layer("vit_encoder").encoder_layers[0]
    assert block.mlp.dense_1.compute_dtype == "bfloat16"
    assert {w.dtype for w in own.logits.trainable_variables} == {"float32"}
    plain = network.build(schema, config_of(presets / "vit"))
    network.set_layer_arrays(own.logits, network.layer_arrays(plain.logits), "test")
    wide, narrow = (each.logits(photos_of(), training=False) for each in (plain, own))
    np.testing.assert_allclose(wide, narrow, atol=0.1 * np.abs(wide).max())


def test_arrays_by_layer_name_copy_all_weights(schema, presets):
    for name in ("vit", "dinov2", "resnet"):
        first = network.build(schema, config_of(presets / name))
        second = network.build(schema, config_of(presets / name, weights="none"))
        arrays = network.layer_arrays(first.logits)
        assert list(arrays) == list(network.layer_arrays(second.logits))
        network.set_layer_arrays(second.logits, arrays, "test")
        outputs = (each.logits(photos_of(), training=False) for each in (first, second))
        np.testing.assert_array_equal(*outputs)


def test_learning_rates_rise_over_the_blocks_of_an_encoder(schema, presets):
    own = network.build(schema, config_of(presets / "vit"))
    settings = {"optimizer": "adam", "weight_decay": 0, "schedule": "constant"}
    more = {"warmup_epochs": 0, "learning_rate": 0.1, "trunk_rate": 0.5, "first_layer_rate": 0.008}
    config = config_of(presets / "vit").train.model_copy(update={**settings, **more})
    optimizer = schedule.make_optimizer(config, 10, own)
    before = {id(v): v.numpy() for v in own.logits.trainable_variables}
    ones = [(np.ones(v.shape, np.float32), v) for v in own.logits.trainable_variables]
    optimizer.apply_gradients(ones)
    encoder = own.logits.get_layer("vit_encoder")
    parts = [
        own.logits.get_layer("vit_patching_and_embedding"),
        *encoder.encoder_layers,
        encoder.layer_norm,
    ]
    for part, rate in zip(parts, (0.0004, 0.002, 0.01, 0.05)):  # Adam's first step is its rate
        assert part.trainable_variables
        for variable in part.trainable_variables:
            moved = before[id(variable)] - variable.numpy()
            np.testing.assert_allclose(moved, rate, rtol=2e-3)
    branch = own.logits.get_layer(network.BRANCHES).trainable_variables[0]
    np.testing.assert_allclose(before[id(branch)] - branch.numpy(), 0.1, rtol=2e-3)


def test_tokens_and_learned_positions_do_not_decay(schema, presets):
    for name in ("vit", "dinov2", "dinov3"):
        own = network.build(schema, config_of(presets / name))
        config = config_of(presets / name).train
        optimizer = schedule.make_optimizer(config, 10, own)
        decays = {
            variable.path: group.decay
            for variable, group in zip(own.logits.trainable_variables, optimizer._groups)
        }
        kernels = [path for path in decays if path.endswith("kernel")]
        assert kernels and all(decays[path] for path in kernels)
        special = [path for path in decays if "token" in path or "position" in path]
        assert special and not any(decays[path] for path in special)


def test_noise_depends_on_the_steps_seed_alone(tmp_path):
    settings = {**SETTINGS["ViTBackbone"], "dropout_rate": 0.3, "attention_dropout": 0.3}
    keras.utils.set_random_seed(0)
    own = built(save(keras_hub.models.ViTBackbone(**settings), tmp_path / "vit"))

    def drawn(model, step: int) -> np.ndarray:
        with noise.keyed(tf.constant([0, step], tf.int64)):
            return model(photos_of(), training=True).numpy()

    first = drawn(own, 1)
    np.testing.assert_array_equal(drawn(own, 1), first)
    assert np.abs(drawn(own, 2) - first).max() > 1e-2
    np.testing.assert_array_equal(drawn(built(tmp_path / "vit"), 1), first)  # a resumed run
    assert np.abs(own(photos_of()) - first).max() > 1e-2


def test_one_step_changes_every_weight_of_the_trunk_and_a_frozen_one_none(
    trained, presets, tmp_path
):
    manifest = RunDir.read(trained.run).manifest()
    config = config_of(presets / "dinov2", dropout=0.0)
    train = config.train.model_copy(update={"warmup_epochs": 0.0, "precision": "float32"})
    config = config.model_copy(update={"train": train})
    labels = np.zeros([2, manifest.schema.num_values], np.int8)
    batch = {"pixels": tf.constant(photos_of()), "labels": tf.constant(labels)}
    for frozen in (False, True):
        model = fit.make_model(config, manifest, 10)
        variables = [v for layer in model.layout.trunk for v in layer.trainable_variables]
        assert variables
        if frozen:
            model.freeze_trunk()
        before = [v.numpy() for v in variables]
        for _ in range(2):  # the first leaves the attention block's zeros before the trunk
            model.train_step(batch)
        changed = [not np.array_equal(a, v.numpy()) for a, v in zip(before, variables)]
        assert not any(changed) if frozen else all(changed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dinov2", "siglip", "resnet"])
def test_train_evaluate_export_and_explain_without_the_preset(trained, name, tmp_path):
    """The run keeps the architecture: the preset is removed after the training."""
    kind = {"dinov2": "DINOV2", "siglip": "SigLIP", "resnet": "ResNet"}[name]
    preset = save(make(f"{kind}Backbone"), tmp_path / "preset")
    settings = (
        *(f"model.trunk=hub:{preset}", "model.weights=imagenet", "model.fuse_stages=1"),
        *("train.epochs=2", "train.freeze_trunk_epochs=1", "train.first_layer_rate=0.1"),
        *("train.average=0.9", "train.precision=mixed_bfloat16"),
    )
    run = tmp_path / "run"
    result = run_tool(
        "train",
        f"--config={trained.config}",
        f"--records={trained.records}",
        f"--run_dir={run}",
        *(f"--set={setting}" for setting in settings),
    )
    assert result.returncode == 0, result.stderr
    assert "Gradients do not exist" not in result.stderr
    shutil.rmtree(preset)
    result = run_tool("evaluate", f"--run_dir={run}")
    assert result.returncode == 0, result.stderr
    path = export.export(run, tmp_path / "models" / "shop")  # verifies the SavedModel
    served = tf.saved_model.load(str(path)).signatures["pixels"]
    names = {attribute.name for attribute in Schema.read(run / "schema.yaml").attributes}
    assert names <= set(served(pixels=tf.constant(photos_of())))
    photo = sorted((trained.path / "images").iterdir())[0]
    result = run_tool("explain", f"--run_dir={run}", f"--images={photo}")
    assert result.returncode == 0, result.stderr
    pictures = sorted(each.name for each in (run / "explain").glob("*.jpg"))
    assert any("category" in each for each in pictures)
    assert any("attention" in each for each in pictures)


def test_heat_is_at_the_position_that_a_value_reads(schema, presets):
    """A network that reads one position only has all of its heat there."""
    from attr_extractor.evaluation.explain.grad_cam import GRID, GradCam

    own = network.build(schema, config_of(presets / "vit", attention={"enabled": False}))
    (pixels,) = own.logits.inputs
    corner = keras.layers.Cropping2D(((1, 0), (0, 1)))(own.maps[-1])  # second row, first column
    logits = keras.layers.Dense(schema.num_values)(keras.layers.Flatten()(corner))
    object.__setattr__(own, "logits", keras.Model(pixels, logits))
    values = tf.range(schema.num_values)
    photos = tf.repeat(photos_of()[:1], schema.num_values, axis=0)
    heats = GradCam(own).heats(photos, values).numpy()
    half = GRID // 2
    assert heats.shape == (schema.num_values, GRID, GRID) and heats.max() > 0
    # bilinear resizing of one of four positions leaves 77 % in its quarter
    assert heats[:, half:, :half].sum() > 0.7 * heats.sum()


def test_parts_of_a_layer_with_several_outputs_are_rejected(schema, presets):
    from attr_extractor.serving.parts import Parts

    own = network.build(schema, config_of(presets / "vit"))
    folded = fold(own)
    logits, _ = Parts(folded, 2)(tf.constant(photos_of()))
    np.testing.assert_allclose(logits, folded(photos_of())[0], atol=1e-5)
    with pytest.raises(InputError, match="encoder' has several outputs .* --parts=1"):
        Parts(fold(network.build(schema, config_of(presets / "dinov2"))), 2)


@pytest.mark.parametrize(
    ("name", "size", "settings", "words"),
    [
        ("vit", 40, {}, "image_size: 40 is not a multiple of 16, the patch size"),
        ("vit", 64, {}, "learned positions for photos of 32 px: use 32"),
        ("dinov2", 32, {"fuse_stages": 2}, "model.fuse_stages: 2, but .* use 1"),
        ("vit", 32, {"weights": "a.h5"}, "model.weights: a.h5: hub:.* own weights; use imagenet"),
    ],
)
def test_what_does_not_fit_the_preset_is_rejected(presets, name, size, settings, words):
    with pytest.raises(InputError, match=words) as caught:
        built(presets / name, size, **settings)
    assert "\n" not in str(caught.value)


def test_presets_that_are_no_trunks_are_rejected(presets, tmp_path):
    empty, text, damaged, bare = (tmp_path / each for each in ("empty", "text", "damaged", "bare"))
    empty.mkdir()
    bert = keras_hub.models.BertBackbone(
        vocabulary_size=10, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4
    )
    bert.save_to_preset(str(text))
    shutil.copytree(presets / "vit", damaged)
    (damaged / "model.weights.h5").write_bytes(b"half a file")
    shutil.copytree(presets / "vit", bare)
    (bare / "image_converter.json").unlink()
    other = tmp_path / "other"
    shutil.copytree(presets / "vit", other)
    content = json.loads((other / "config.json").read_text())
    content["config"]["num_layers"] = 3
    (other / "config.json").write_text(json.dumps(content))
    junk = tmp_path / "junk"
    junk.mkdir()
    (junk / "config.json").write_text("[1")
    for folder, words in (
        (tmp_path / "nowhere", r"no such preset here.*save_to_preset\(FOLDER\)"),
        (empty, "empty is not a preset: it has no config.json"),
        (text, "BertBackbone is not an image backbone; use "),
        (damaged, "cannot be loaded for 32 px"),
        (other, "cannot be loaded for 32 px"),
        (bare, "its pixel format is unknown; add image_converter.json"),
        (junk, "junk"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            built(folder)
        assert "\n" not in str(caught.value)


def test_a_preset_that_would_be_downloaded_is_rejected_without_a_network(monkeypatch):
    def offline(*_arguments, **_settings):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("kagglehub.model_download", offline)
    with pytest.raises(InputError, match=r"no route to host") as caught:
        built(Path("vit_base_patch16_224_imagenet"))
    assert "save_to_preset(FOLDER)" in str(caught.value)


def test_photos_of_several_sizes_need_weights_that_do_not_depend_on_it(presets):
    for name in ("dinov3", "resnet"):
        trunk.require_sizes(config_of(presets / name).model, [32, 64])
    with pytest.raises(InputError, match="train.image_sizes: the weights of .* depend"):
        trunk.require_sizes(config_of(presets / "dinov2").model, [32, 64])
    with pytest.raises(InputError, match="train.image_sizes: the weights of .* depend"):
        trunk.require_sizes(config_of(presets / "vit", weights="none").model, [32, 64])


@pytest.mark.slow
def test_train_reports_a_bad_preset_in_one_line(trained, presets, tmp_path):
    shared = (f"--config={trained.config}", f"--records={trained.records}")
    for folder, words in ((presets / "vit", "use 1"), (tmp_path / "nowhere", "no such preset")):
        result = run_tool(
            "train",
            *shared,
            f"--run_dir={tmp_path / 'run'}",
            f"--set=model.trunk=hub:{folder}",
            "--set=model.weights=imagenet",
            "--set=model.fuse_stages=2",
        )
        require_bad_input(result, words)
    assert not (tmp_path / "run" / "weights.npz").exists()
