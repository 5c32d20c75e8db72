"""Flag groups of the experiment programs, and the settings that they stand for.

Each group is a function that a program calls; importing this module defines no flag. A flag that is
not given leaves the value of `--config=NAME`.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from absl import flags

import experiments.configs
from experiments import list_flags
from tfcompress import backbones, registry

DEFAULT_CONFIG, TEXT_CONFIG = "default", "text"

# Flag -> (part of RunConfig, field). The flag's type follows the field's default.
RUN_FLAGS: Mapping[str, tuple[str, str, str]] = {
    "dataset": (
        "data",
        "name",
        "Data set: mnist, cifar10, fashion_mnist, another TFDS name, "
        "mnist_sample, cifar10_sample, folder:DIR, npz:FILE; mnist_rotation and "
        "mnist_sample_rotation are regressions; text:FILE.tsv, or with --task=text a TFDS name "
        "such as glue/sst2, imdb_reviews or ag_news_subset.",
    ),
    "task": (
        "data",
        "task",
        "classification or regression, where labels could be either; text for TFDS names of texts; "
        "auto goes by the data.",
    ),
    "data_dir": ("data", "data_dir", "TFDS directory; empty for TFDS's default."),
    "data_source": ("data", "source", "auto, prepared, download or registry."),
    "validation_fraction": ("data", "validation_fraction", "Share of train kept for validation."),
    "max_train": ("data", "max_train", "Images of train to use; 0 for all."),
    "stored_size": ("data", "image_size", "Size that images of unequal sizes are stored at."),
    "calibration_images": ("data", "calibration_size", "Images of train kept for calibration."),
    "backbone": (
        "backbone",
        "name",
        "Network, such as resnet8, efficientnet_lite0, MobileNetV2; for texts minilm_l6, or "
        "encoder:FOLDER with a checkpoint of BERT or RoBERTa, whose other settings then start from "
        "those of --config=text.",
    ),
    "weights": ("backbone", "weights", "default, imagenet, cifar10, none, or a file."),
    "image_size": (
        "backbone",
        "image_size",
        "Side of the model's input in pixels; 0: the network's default (28 to 96; see the report).",
    ),
    "width": ("backbone", "width", "Channel multiplier (MobileNet's alpha)."),
    "dropout": ("backbone", "dropout", "Dropout before the head, in [0, 1)."),
    "transfer": (
        "transfer",
        "mode",
        "full, fine_tune, linear_probe, or none: a trained --model with its own head, as it is.",
    ),
    "last_layers": ("transfer", "last_layers", "Layers that fine_tune trains before the head."),
    "head_epochs": ("transfer", "head_epochs", "Epochs of the head alone, on encoded images."),
    "epochs": ("training", "epochs", "Epochs of the baseline."),
    "batch_size": ("training", "batch_size", "Images in one training step."),
    "optimizer": ("training", "optimizer", "Keras name: adam, sgd, rmsprop, ..."),
    "learning_rate": ("training", "learning_rate", "Highest learning rate of the baseline."),
    "schedule": ("training", "schedule", "constant, cosine_decay, exponential_decay, ..."),
    "warmup": ("training", "warmup", "Share of the steps in which the learning rate rises."),
    "loss": (
        "training",
        "loss",
        "categorical_crossentropy, categorical_focal_crossentropy, ...; of a regression "
        "mean_squared_error, mean_absolute_error, huber.",
    ),
    "label_smoothing": ("training", "label_smoothing", "In [0, 1)."),
    "weight_decay": ("training", "weight_decay", "Decoupled weight decay; 0 for none."),
    "strategy": (
        "training",
        "strategy",
        "none; mirrored: every GPU of this machine holds the model and takes an equal share of "
        "--batch_size; multi_worker: those of every process that TF_CONFIG names do; tpu: the "
        "cores of a TPU.",
    ),
    "precision": (
        "training",
        "precision",
        "float32, mixed_float16 or mixed_bfloat16, in which the training computes. The mixed ones "
        "are for GPUs: processors without such arithmetic are slower with them.",
    ),
    "early_stopping": ("training", "early_stopping_patience", "Epochs of patience; 0: never."),
    "flip": ("augmentation", "flip", "Mirror training images at random."),
    "crop_padding": ("augmentation", "crop_padding", "Shift by up to so many pixels."),
    "cutout": ("augmentation", "cutout", "Side of a grey square; 0 for none."),
    "brightness": ("augmentation", "brightness", "Greatest brightness shift, in [0, 1]."),
    "contrast": ("augmentation", "contrast", "Greatest contrast change, in [0, 1]."),
    "stage_epochs": ("stage_training", "epochs", "Epochs of each stage of the recipe."),
    "stage_learning_rate": (
        "stage_training",
        "learning_rate",
        "Highest one of each stage; by default 0.3 of --learning_rate.",
    ),
    "export": ("export", "formats", "float32, float16, dynamic, int8, int16x8."),
    "dense_per_channel": (
        "export",
        "dense_per_channel",
        "One scale for each output of a Dense layer; --nodense_per_channel makes smaller files.",
    ),
    "sparse": ("export", "sparse", "Store zeros of the float32 file in TFLite's sparse encoding."),
    "minimal": (
        "export",
        "minimal",
        "Take out of every file what no output depends on, such as names; same outputs bit for "
        "bit. With --sparse, store the zeros of every format sparse where LiteRT takes it.",
    ),
    "bias_scales": (
        "export",
        "bias_scales",
        "Keep the scales of biases in minimal files; --nobias_scales makes them smaller, for "
        "processors only.",
    ),
    "threads": ("latency", "threads", "Processor threads of the latency measurement."),
    "latency_batch": ("latency", "batch", "Images in one measured call."),
    "latency_rounds": ("latency", "rounds", "Processes for each file."),
    "tensorboard": ("", "tensorboard", "Write TensorBoard logs into the run folder."),
}

# Flags of a text encoder alone, by the fields of `backbones.TextConfig`.
TEXT_FLAGS: Mapping[str, tuple[str, str]] = {
    "sequence_length": (
        "sequence_length",
        "Tokens of every text, padding included; longer ones are cut. Default: 64.",
    ),
    "shorter_lengths": (
        "shorter_lengths",
        "Other lengths that the exported files take, such as 16,32: a short text is filled up to "
        "the shortest that holds it. Default: none.",
    ),
    "pooling": ("pooling", "What stands for a text: auto, pooler or mean. Default: 'auto'."),
}

# Settings of the backbone that a user's own model has too.
OWN_MODEL_FIELDS = ("image_size", "dropout")
# And those that a text encoder has too.
TEXT_FIELDS = ("name", "weights", "dropout")


def define_run_flags() -> None:
    """Defines the flags of a run: one for each setting, `--config`, `--seed`, `--output_dir`."""
    flags.DEFINE_string(
        "config", DEFAULT_CONFIG, f"Settings to start from: {', '.join(config_names())}."
    )
    flags.DEFINE_string(
        "output_dir", None, "Run folder; by default runs/ and a name of the settings."
    )
    flags.DEFINE_bool(
        "coverage", False, "Show, before the training, what each technique can do to each layer."
    )
    flags.DEFINE_integer("seed", None, "Of weights, order, augmentation and dropout.")
    flags.DEFINE_multi_string(
        "recipe",
        None,
        'What is done to the baseline, such as "prune(0.8)+cluster(16)+qat"; none for the baseline '
        "alone. Given several times, each recipe starts from the same baseline.",
    )
    flags.DEFINE_string(
        "model",
        None,
        "Your own model instead of --backbone: a .keras or .h5 file, or a SavedModel folder.",
    )
    flags.DEFINE_enum(
        "model_preprocessing",
        None,
        list(backbones.PIXELS),
        "What --model expects of an image, where it does not rescale raw pixels itself.",
    )
    flags.DEFINE_integer("sequence_length", None, TEXT_FLAGS["sequence_length"][1])
    list_flags.define("shorter_lengths", None, TEXT_FLAGS["shorter_lengths"][1])
    flags.DEFINE_string("pooling", None, TEXT_FLAGS["pooling"][1])
    for name, (part, field, text) in RUN_FLAGS.items():
        _define(name, _default(part, field), text)


def given() -> list[str]:
    """The settings of a run that were given as flags, as they would be written again.

    Without the recipes and the folder: such as `["--dataset=mnist", "--flip"]`.
    """
    names = ("config", "seed", "model", "model_preprocessing", *TEXT_FLAGS, *RUN_FLAGS)
    return [flags.FLAGS[name].serialize() for name in names if flags.FLAGS[name].present]


def _define(name: str, default: Any, text: str) -> None:
    shown = ",".join(default) if isinstance(default, tuple) else default
    text = text if shown in ("", None) else f"{text} Default: {shown!r}."
    if default is None:
        flags.DEFINE_float(name, None, text)
    elif isinstance(default, bool):
        flags.DEFINE_bool(name, None, text)
    elif isinstance(default, int):
        flags.DEFINE_integer(name, None, text)
    elif isinstance(default, float):
        flags.DEFINE_float(name, None, text)
    elif isinstance(default, tuple):
        list_flags.define(name, None, text)
    else:
        flags.DEFINE_string(name, None, text)


def _default(part: str, field: str) -> Any:
    return getattr(_part(named_config(DEFAULT_CONFIG), part), field)


def _part(config: Any, part: str) -> Any:
    if part == "augmentation":
        return config.training.augmentation
    return getattr(config, part) if part else config


def config_names() -> tuple[str, ...]:
    """Names that `--config` takes: the modules of `experiments/configs`."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(experiments.configs.__path__)))


def named_config(name: str) -> Any:
    """The `RunConfig` of a module of `experiments/configs`.

    Raises:
      UnknownNameError: no module has that name.
    """
    registry.require(name, config_names(), what="config")
    return importlib.import_module(f"experiments.configs.{name}").get_config()


def run_config_from_flags() -> Any:
    """The `RunConfig` of the flags that were given, over that of `--config`.

    Raises:
      ValueError: an unknown config, or a value that its config class refuses.
    """
    values = flags.FLAGS
    of_texts = backbones.is_text_name(values["backbone"].value or "")
    config = named_config(
        TEXT_CONFIG if of_texts and values.config == DEFAULT_CONFIG else values.config
    )
    changes: dict[str, dict[str, Any]] = {}
    for name, (part, field, _) in RUN_FLAGS.items():
        value = values[name].value
        if value is not None:
            changes.setdefault(part, {})[field] = tuple(value) if isinstance(value, list) else value
    if values.recipe is not None:
        changes.setdefault("", {})["recipes"] = tuple(values.recipe)
    if values.seed is not None:
        changes.setdefault("", {})["seed"] = values.seed
        changes.setdefault("training", {})["seed"] = values.seed
        changes.setdefault("data", {})["seed"] = values.seed
    for name, (field, _) in TEXT_FLAGS.items():
        if values[name].value is not None:
            changes.setdefault("backbone", {})[field] = _of_texts(name, values[name].value)
    config = _with_text_encoder(config, changes)
    own_model = {"path": values.model, "preprocessing": values.model_preprocessing}
    return _changed(_from_model(config, own_model, changes), changes)


def _of_texts(name: str, value: Any) -> Any:
    """The value of a flag of a text encoder; a list is one of numbers."""
    if not isinstance(value, list):
        return value
    try:
        return tuple(map(int, value))
    except ValueError as error:
        raise ValueError(
            f"--{name} takes whole numbers, such as --{name}=16,32. Received: {','.join(value)}."
        ) from error


def _with_text_encoder(config: Any, changes: dict[str, dict[str, Any]]) -> Any:
    """The config with the text encoder of `--backbone`, if it is one."""
    given = changes.get("backbone", {})
    of_texts = isinstance(config.backbone, backbones.TextConfig)
    if "name" in given:
        of_texts = backbones.is_text_name(given["name"])
    _check_kind(given, of_texts=of_texts)
    if not of_texts or isinstance(config.backbone, backbones.TextConfig):
        return config
    start = backbones.TextConfig(**changes.pop("backbone"))
    # With the data at once: texts go with a text encoder only.
    data = dataclasses.replace(config.data, **changes.pop("data", {}))
    return dataclasses.replace(config, backbone=start, data=data)


def _check_kind(given: Mapping[str, Any], *, of_texts: bool) -> None:
    """Refuses settings of a backbone for texts with one for images, and the other way round."""
    of_images = {
        field: flag
        for flag, (part, field, _) in RUN_FLAGS.items()
        if part == "backbone" and field not in TEXT_FIELDS
    }
    foreign = of_images if of_texts else {field: flag for flag, (field, _) in TEXT_FLAGS.items()}
    wrong = [f"--{foreign[field]}" for field in given if field in foreign]
    if wrong:
        raise ValueError(
            f"{', '.join(wrong)} {'does' if len(wrong) == 1 else 'do'} not go with a backbone for "
            f"{'texts' if of_texts else 'images'}. Leave it out."
        )


def _from_model(
    config: Any, own_model: Mapping[str, str | None], changes: dict[str, dict[str, Any]]
) -> Any:
    """The config with the model of `--model` in the backbone's place."""
    given: dict[str, Any] = {name: text for name, text in own_model.items() if text is not None}
    if not given:
        return config
    names = {field: flag for flag, (part, field, _) in RUN_FLAGS.items() if part == "backbone"}
    names |= {field: flag for flag, (field, _) in TEXT_FLAGS.items()}
    both = [names[field] for field in changes.get("backbone", {}) if field not in OWN_MODEL_FIELDS]
    if own_model["path"] and both:
        raise ValueError(
            f"--model is what a run starts from instead of a backbone. Received also: "
            f"{', '.join(f'--{flag}' for flag in both)}. Leave one of them out."
        )
    if isinstance(config.backbone, backbones.ModelConfig):
        return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, **given))
    if not own_model["path"]:
        raise ValueError("--model_preprocessing belongs to --model=PATH, which is missing.")
    start = backbones.ModelConfig(**given, **changes.pop("backbone", {}))
    # With the transfer at once: that of no training goes with a model only.
    transfer = dataclasses.replace(config.transfer, **changes.pop("transfer", {}))
    return dataclasses.replace(config, backbone=start, transfer=transfer)


def _changed(config: Any, changes: dict[str, dict[str, Any]]) -> Any:
    """The config with the given fields replaced, all at once so that they are checked together."""
    augmentation = changes.pop("augmentation", {})
    if augmentation:
        changes.setdefault("training", {})["augmentation"] = dataclasses.replace(
            config.training.augmentation, **augmentation
        )
    own = changes.pop("", {})
    parts = {
        part: dataclasses.replace(getattr(config, part), **fields)
        for part, fields in changes.items()
    }
    return dataclasses.replace(config, **parts, **own)
