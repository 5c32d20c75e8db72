"""Turns a Keras model into TFLite bytes, and says how far the two agree.

Knows TensorFlow's converter, its formats, options and calibration, and what must stand in a file's
metadata. Does not know how the model was trained, where examples come from, what a file must be
(`exported_file`) and how far it may lie from its model (`parity_limits`), or how it is timed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import tfcompress
from tfcompress import native_output
from tfcompress._keras import keras, tf
from tfcompress.artifact import Artifact, cut
from tfcompress.exported_file import ENDS, ExportError, require_running
from tfcompress.graph.kernels import require_finite
from tfcompress.graph.lengths import any_length
from tfcompress.graph.tracing import for_converter
from tfcompress.metadata import labels_of, preprocessing_of, targets_of
from tfcompress.parity_limits import ParityError
from tfcompress.predictions import VALUES
from tfcompress.preprocessing import Preprocessing
from tfcompress.registry import require
from tfcompress.results import Parity
from tfcompress.tokenization import Tokenization

FORMATS = ("float32", "float16", "dynamic", "int8", "int16x8")
# What a model with fake-quantization operators can become: the simulation, or the real thing.
_QUANTIZATION_AWARE_FORMATS = ("float32", "int8")


@dataclass(frozen=True)
class ExportConfig:
    """Which files are made from a model.

    Attributes:
      formats: names from `FORMATS`, each once.
      calibration_size: images that the ranges of an integer file are read from, at most.
      sparse: store the zeros of the float32 file in TFLite's sparse encoding: a smaller file for a
        pruned model, run at the same speed on most processors.
      dense_per_channel: quantize each output of a Dense layer with its own scale. One scale for the
        layer makes a smaller file, more so of a clustered layer, whose few values stay the
        same in all channels.
      minimal: take out of each file what no output depends on, see `minimal.minimize`; with
        `sparse`, kernels of every format are stored sparse where LiteRT takes them so.
      bias_scales: keep the scales of each bias in a minimal file; without them it is smaller and
        for processors only, see `minimal.minimize`.

    Raises:
      ValueError: an unknown or repeated format, no format, a size below 1, or files without
        `bias_scales` that are not `minimal`.
    """

    formats: tuple[str, ...] = ("float32", "int8")
    calibration_size: int = 512
    sparse: bool = False
    dense_per_channel: bool = True
    minimal: bool = False
    bias_scales: bool = True

    def __post_init__(self) -> None:
        for name in self.formats:
            require(name, FORMATS, what="export format")
        if not self.formats or len(set(self.formats)) != len(self.formats):
            raise ValueError(
                "ExportConfig.formats must name at least one format, each once. "
                f"Received: {self.formats}. Known: {', '.join(FORMATS)}."
            )
        if not (self.minimal or self.bias_scales):
            raise ValueError(
                "ExportConfig.bias_scales=False belongs to minimal files. Received: minimal=False. "
                "Pass minimal=True too."
            )
        if self.calibration_size < 1:
            raise ValueError(
                "ExportConfig.calibration_size must be at least 1. "
                f"Received: {self.calibration_size}."
            )


def convert(
    model: keras.Model,
    format: str,
    *,
    calibration: np.ndarray | None = None,
    metadata: Mapping[str, Any] | None = None,
    sparse: bool = False,
    dense_per_channel: bool = True,
) -> Artifact:
    """Converts a Keras model to a TFLite file.

    | format | weights | activations | input and output |
    |---|---|---|---|
    | float32 | float32 | float32 | float32 |
    | float16 | float16, unpacked when loaded | float32 | float32 |
    | dynamic | int8 | quantized on the fly | float32 |
    | int8 | int8 | int8 | int8 |
    | int16x8 | int8 | int16 | int16 |

    Ids of tokens stay int32 in every format. In an int8 file of texts, the operators that make a
    mask of them, which no integers with a scale are made of, are the only others that are not
    integer. The converter makes no int16x8 file of an encoder.

    Layers that quantization-aware training left in float are in float in its int8 file, too; where
    one of them comes first or last, the file takes or gives float32.

    Args:
      model: one input of a fixed size, images or ids of tokens (int32), one output [batch, classes]
        or [batch, targets]; a plain tf_keras model, or one from quantization-aware training, whose
        own ranges then serve as they are. Of a `Tokenization` in the metadata that has `shorter`
        lengths the file leaves the length open.
      format: one of `FORMATS`.
      calibration: what the model takes, float32 [examples, height, width, channels] or int32
        [examples, length] as of `Tokenization.for_calibration`, preprocessed as for training;
        needed for `int8` (unless the model comes from quantization-aware training) and `int16x8`.
      metadata: what the file says about itself, see `Artifact.metadata`; `preprocessing` may be a
        `Preprocessing` or a `Tokenization`. `format`, `output` and `tfcompress_version` are filled
        in. A record with `targets` makes the outputs values, one with `labels` classes.
      sparse: sparse encoding of the weights, for `float32` only.
      dense_per_channel: see `ExportConfig`.

    Returns:
      the artifact, loaded and run once.

    Raises:
      ValueError: an unknown format, a model of another shape, missing or unfit calibration
        examples, or metadata that does not fit the model.
      ExportError: the converter refuses the model, or its file does not run.
    """
    require(format, FORMATS, what="export format")
    shape = _input_shape(model)
    require_finite(model, what="convert")
    quantization_aware = is_quantization_aware(model)
    _check_options(
        format, quantization_aware=quantization_aware, sparse=sparse, calibration=calibration
    )
    if calibration is not None:
        require_images("calibration", calibration, model)
    record = _metadata_record(model, format, {} if metadata is None else metadata, shape)
    if quantization_aware:
        calibration = None
    converter = _converter(model, open_length=_is_of_lengths(record))
    _set_options(converter, format, calibration, sparse=sparse)
    # TensorFlow 2.21 has no public name for it.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = (
        not dense_per_channel
    )
    of_ids = format == "int16x8" and _input_dtype(model) == tf.int32
    data = _run_converter(converter, format, hint=_NO_INT16X8 if of_ids else "")
    artifact = Artifact(data).with_metadata(record)
    require_running(artifact, format, quantization_aware=quantization_aware)
    return artifact


def is_quantization_aware(model: keras.Model) -> bool:
    """Whether a model carries fake-quantization layers, of this package or of TF-MOT."""
    return any(
        hasattr(layer, "quantizer") or hasattr(layer, "quantize_config") for layer in model.layers
    )


def output_kind(model: keras.Model) -> str:
    """`"probabilities"` where the last layer is or ends with a softmax, else `"logits"`."""
    layer = model.get_layer(model.output_names[0])
    layer = getattr(layer, "layer", layer)
    activation = getattr(layer, "activation", None)
    # Quantization-aware training wraps the activation once more.
    activation = getattr(activation, "activation", activation)
    softmax = type(layer).__name__ == "Softmax" or getattr(activation, "__name__", "") == "softmax"
    return "probabilities" if softmax else "logits"


def parity(
    artifact: Artifact,
    model: keras.Model,
    images: np.ndarray,
    *,
    batch_size: int = 64,
    threads: int = 1,
    length: int | None = None,
) -> Parity:
    """Compares an artifact's outputs with those of the Keras model that it was made from.

    Args:
      artifact: the exported file.
      model: the Keras model.
      images: float32 [examples, height, width, channels], preprocessed, or ids of tokens, int32
        [examples, length]; from the validation split. What the file's metadata say of its outputs
        decides whether classes or values are compared.
      batch_size: images in one call, for both.
      threads: processor threads of the artifact.
      length: of a file that takes texts of several lengths, one of the shorter ones: both are given
        the texts cut to it, which the model reads filled up with padding.

    Raises:
      ValueError: no images or of another shape, or a length that the file does not take.
      ParityError: one of the two gives a NaN or infinite output.
    """
    require_images("images", images, model)
    call = inference(model)
    if length is not None:
        images = _filled_up(images, length, artifact)
    batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    expected = np.concatenate([call(batch) for batch in batches])
    received = artifact.run(cut(images, length), threads=threads, batch_size=batch_size)
    for name, outputs in (("Keras model", expected), ("artifact", received)):
        if not np.isfinite(outputs).all():
            raise ParityError(
                f"The {name} gives {int((~np.isfinite(outputs)).sum())} outputs that are NaN or "
                f"infinite, of {outputs.size}. Look at the model's weights."
            )
    difference = np.abs(expected - received)
    values = artifact.metadata.get("output") == VALUES
    same = expected.argmax(axis=-1) == received.argmax(axis=-1)
    return Parity(
        examples=len(images),
        top1_agreement=None if values else float(np.mean(same)),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        output_scale=artifact.session().output_details.scale,
        relative_difference=_in_deviations(difference, expected) if values else None,
        length=length,
    )


def _filled_up(token_ids: np.ndarray, length: int, artifact: Artifact) -> np.ndarray:
    """Texts cut to a length, with padding behind it."""
    if length not in artifact.lengths:
        raise ValueError(
            f"{artifact} takes texts of {', '.join(map(str, artifact.lengths)) or 'one length'}. "
            f"Received: length {length}."
        )
    tokenization = artifact.preprocessing
    assert isinstance(tokenization, Tokenization)
    filled = token_ids.copy()
    filled[:, length:] = tokenization.padding_id
    return filled


def _in_deviations(difference: np.ndarray, expected: np.ndarray) -> float:
    """The mean of differences in standard deviations of each value."""
    spread = expected.std(axis=0)
    return float(np.mean(difference / np.where(spread > 0, spread, 1.0)))


def inference(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A model as a function in inference mode, traced once for every size of batch.

    Args:
      model: one input of a fixed size, one output.

    Returns:
      a function from preprocessed float32 [batch, height, width, channels], or ids of tokens, int32
      [batch, length], also fewer than the model's length, to float32 outputs.
    """
    shape: tuple[int | None, ...] = _input_shape(model)
    kind = _input_dtype(model)
    if kind == tf.int32 and len(shape) == 1:
        shape = (None,)
    signature = tf.TensorSpec([None, *shape], kind)
    call = tf.function(lambda batch: model(batch, training=False))
    with any_length(model):
        concrete = call.get_concrete_function(signature)
    return lambda images: concrete(tf.constant(images, kind)).numpy().astype(np.float32)


def _input_dtype(model: keras.Model) -> Any:
    """int32 of a model of texts, else float32."""
    return tf.int32 if model.inputs[0].dtype.is_integer else tf.float32


def _input_shape(model: keras.Model) -> tuple[int, ...]:
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"convert takes a tf_keras model. Received: {type(model).__module__}."
            f"{type(model).__name__}. tfcompress.load_model makes one of a Keras 3 model or a file."
        )
    if len(model.inputs or ()) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "The model must have one input and one output. "
            f"Received: {len(model.inputs or ())} and {len(model.outputs or ())}."
        )
    shape = tuple(model.inputs[0].shape)[1:]
    if None in shape:
        raise ValueError(
            f"The model's input size must be fixed. Received: {list(shape)}. Build the model with "
            "keras.Input of a known height, width and channels."
        )
    return tuple(int(size) for size in shape)


def _check_options(
    format: str, *, quantization_aware: bool, sparse: bool, calibration: np.ndarray | None
) -> None:
    if sparse and format != "float32":
        raise ValueError(
            f"sparse=True goes with format float32 only. Received: {format}. LiteRT does not load "
            "a sparse dynamic-range file, and a plain integer file gzips smaller than a sparse one."
        )
    if quantization_aware and format not in _QUANTIZATION_AWARE_FORMATS:
        raise ValueError(
            "A model from quantization-aware training exports as int8, or as float32 with its "
            f"fake-quantization operators. Received: {format}. Export the model from before that "
            "stage."
        )
    if format in ENDS and calibration is None and not quantization_aware:
        raise ValueError(
            f"{format} needs calibration images to find the range of each activation. Received: "
            "none. Pass calibration=preprocessing.apply(dataset.calibration.examples), 100 or more."
        )


def require_images(name: str, images: np.ndarray, model: keras.Model) -> None:
    """Refuses examples that a model does not take.

    Args:
      name: what the examples are called in the message.
      images: float32 [examples, height, width, channels], preprocessed, or ids of tokens, int32
        [examples, length].
      model: of one input of a fixed size.

    Raises:
      ValueError: another type or shape, no examples, or numbers that are not finite.
    """
    shape, kind = _input_shape(model), np.dtype(_input_dtype(model).as_numpy_dtype)
    if not isinstance(images, np.ndarray):
        raise ValueError(
            f"{name} must be a numpy array, {kind} [examples, {', '.join(map(str, shape))}]. "
            f"Received: {type(images).__name__}."
        )
    if images.dtype != kind or images.shape[1:] != shape or len(images) == 0:
        advice = (
            "Raw images go through Preprocessing.apply first."
            if kind == np.float32
            else "Raw texts go through Tokenizer.token_ids first."
        )
        raise ValueError(
            f"{name} must be {kind} [examples, {', '.join(map(str, shape))}] with at least one "
            f"example. Received: {images.dtype} {list(images.shape)}. {advice}"
        )
    if not np.isfinite(images).all():
        raise ValueError(
            f"{name} must be finite. Received: {int((~np.isfinite(images)).sum())} numbers that "
            f"are NaN or infinite, of {images.size}. Look at the images and at the preprocessing."
        )


def _metadata_record(
    model: keras.Model, format: str, metadata: Mapping[str, Any], shape: tuple[int, ...]
) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata must be a mapping. Received: {type(metadata).__name__}.")
    kind = VALUES if "targets" in metadata else output_kind(model)
    record = {"output": kind, **metadata}
    record |= {"format": format, "tfcompress_version": tfcompress.__version__}
    if "preprocessing" in record:
        given = record["preprocessing"]
        is_ours = isinstance(given, Preprocessing | Tokenization)
        fields = given.to_dict() if is_ours else given
        preprocessing = preprocessing_of(fields, name="metadata['preprocessing']")
        if tuple(preprocessing.input_shape) != shape:
            what = "images of" if isinstance(preprocessing, Preprocessing) else "ids of tokens"
            raise ValueError(
                f"metadata['preprocessing'] gives {what} {list(preprocessing.input_shape)}, but "
                f"the model takes {list(shape)}."
            )
        record["preprocessing"] = preprocessing.to_dict()
    classes = model.outputs[0].shape[-1]
    if "labels" in record:
        labels = labels_of(record["labels"], name="metadata['labels']")
        if len(labels) != classes:
            raise ValueError(
                f"metadata['labels'] must name the model's {classes} classes. "
                f"Received: {len(labels)} names."
            )
    if "targets" in record:
        targets = targets_of(record["targets"], name="metadata['targets']")
        if len(targets) != classes or record["output"] != VALUES or "labels" in record:
            raise ValueError(
                f"metadata['targets'] must name the model's {classes} values, and goes with output "
                f"{VALUES!r} and no labels. Received: {len(targets)} names, output "
                f"{record['output']!r}{', labels' if 'labels' in record else ''}."
            )
    try:
        json.dumps(record, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata must hold what JSON can hold: {error}.") from error
    return record


def _is_of_lengths(record: Mapping[str, Any]) -> bool:
    """Whether a file's metadata say that it takes texts of several lengths."""
    return bool(record.get("preprocessing", {}).get("shorter"))


def _converter(model: keras.Model, *, open_length: bool) -> Any:
    # The batch stays open, so that one file serves single images and batches.
    kind = _input_dtype(model)
    name = "image" if kind == tf.float32 else "token_ids"
    shape = [None] if open_length else model.inputs[0].shape[1:]
    signature = tf.TensorSpec([None, *shape], kind, name=name)
    call = tf.function(lambda image: model(image, training=False))
    with for_converter(model):
        concrete = call.get_concrete_function(signature)
    # The converter saves what owns the variables. Of a Keras model it would trace every layer anew,
    # several times, which takes most of the time of a conversion.
    owner = tf.Module()
    owner.weights = model.weights
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], owner)


def _set_options(
    converter: Any, format: str, calibration: np.ndarray | None, *, sparse: bool
) -> None:
    if format == "float32":
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if sparse else []
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if format == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if format not in ENDS:
        return
    ends = tf.as_dtype(ENDS[format])
    converter.inference_input_type = converter.inference_output_type = ends
    if calibration is None:
        # With the integer operator set the converter insists on calibration, also where the model
        # brings its ranges along; that no float operator is left is checked on the file.
        return
    sets = tf.lite.OpsSet
    integer_only = {
        "int8": sets.TFLITE_BUILTINS_INT8,
        "int16x8": sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    }
    converter.target_spec.supported_ops = [integer_only[format]]
    converter.representative_dataset = lambda: ([image[None]] for image in calibration)


_NO_INT16X8 = (
    " Of models that make a mask of ids, as text encoders do, it makes no int16x8 file at all."
)


def _run_converter(converter: Any, format: str, *, hint: str = "") -> bytes:
    said: list[str] = []
    try:
        with native_output.held(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bytes(converter.convert())
    # The converter raises its own ConverterError, RuntimeError, ValueError and plain Exception.
    except Exception as error:
        lines = [line for line in f"{error}\n{''.join(said)}".splitlines() if line.strip()]
        raise ExportError(
            f"TensorFlow's converter refuses this model as {format}:\n  "
            + "\n  ".join(lines[:5])
            + "\nExport another format, or replace the layer that it names."
            + hint
        ) from error
