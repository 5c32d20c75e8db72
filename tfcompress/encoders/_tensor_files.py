"""Reads the tensors of a published encoder from a folder, as data: nothing in a file is run.

Knows the three kinds of files that encoders are published in: safetensors, PyTorch's, and Google's
TensorFlow checkpoints. Gives all of them the names and layout of Hugging Face's PyTorch models,
older names of layer normalization included. Does not know which tensors an encoder has.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfcompress import torch_files
from tfcompress._keras import tf
from tfcompress.packaged_files import WeightsError

SAFETENSORS = "model.safetensors"
TORCH = "pytorch_model.bin"
CHECKPOINT = "bert_model.ckpt"
_GOOGLES = f"{CHECKPOINT}.index"
# What a training left beside the weights in Google's checkpoints.
_OF_OPTIMIZERS = ("adam_m", "adam_v", "global_step")
_TENSORFLOW_NAMES = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
_OLD_NAMES = {"gamma": "weight", "beta": "bias"}


def read_folder(folder: Path) -> tuple[dict[str, np.ndarray], Path]:
    """Reads the first of `SAFETENSORS`, `TORCH` and `CHECKPOINT` that a folder has.

    Returns:
      Tensors by Hugging Face's names, matrices [outputs, inputs], and the file that was read.

    Raises:
      WeightsError: none of the files, or one that cannot be read.
    """
    readers = {SAFETENSORS: read_safetensors, TORCH: read_torch, _GOOGLES: read_checkpoint}
    for name, reader in readers.items():
        if (folder / name).is_file():
            return _with_new_names(reader(folder / name)), folder / name
    raise WeightsError(
        f"{folder} holds no weights of an encoder in one file. Expected one of "
        f"{', '.join(readers)}. Received: {_listing(folder)}."
    )


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Reads a `.safetensors` file.

    Raises:
      WeightsError: the package safetensors is missing, or the file is damaged or holds numbers of a
        type that numpy lacks.
    """
    if importlib.util.find_spec("safetensors") is None:
        raise WeightsError(
            f"Reading {path.name} needs the package safetensors, which is not installed. "
            "Run: pip install -e '.[text]', in a checkout of tfcompress."
        )
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    # TensorFlow makes the type known to numpy; else what can be read would depend on whether it is
    # loaded.
    np.dtype(tf.bfloat16.as_numpy_dtype)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    # How safetensors answers to a type such as float8.
    except (AttributeError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} holds numbers of a type that numpy lacks ({error}). Save it as float32."
        ) from error


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """Reads a PyTorch file, of the legacy format or a zip archive.

    Raises:
      WeightsError: the file is damaged or asks for anything but tensors.
    """
    try:
        return torch_files.read_tensors(path.read_bytes())
    except (torch_files.TorchFileError, OSError) as error:
        raise WeightsError(f"{path} cannot be read. {error}") from error


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Reads a TensorFlow checkpoint with the names of Google's BERT.

    Args:
      path: of its `.index` file.

    Raises:
      WeightsError: the checkpoint is damaged, or its data are not beside the index.
    """
    try:
        reader = tf.train.load_checkpoint(str(path.with_suffix("")))
        names = [
            name
            for name in reader.get_variable_to_shape_map()
            if name.rpartition("/")[2] not in _OF_OPTIMIZERS
        ]
        tensors = {name: reader.get_tensor(name) for name in names}
    # TensorFlow's own errors, and what its checkpoint reader makes of them.
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        raise _unreadable(path, error) from error
    return {_from_tensorflow(name): _turned(name, tensor) for name, tensor in tensors.items()}


def _from_tensorflow(name: str) -> str:
    """Hugging Face's name for a variable of Google's BERT.

    Example:
      >>> _from_tensorflow("bert/encoder/layer_3/output/dense/kernel")
      'bert.encoder.layer.3.output.dense.weight'
    """
    *path, last = name.replace("/layer_", "/layer/").split("/")
    # A table's variable has the table's own name.
    last = f"{last}.weight" if last.endswith("_embeddings") else _TENSORFLOW_NAMES.get(last, last)
    return ".".join([*path, last])


def _turned(name: str, tensor: np.ndarray) -> np.ndarray:
    return tensor.T if name.endswith("/kernel") else tensor


def _with_new_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Layer normalization's gamma and beta by the names that they have had since."""
    renamed = {}
    for name, tensor in tensors.items():
        owner, _, last = name.rpartition(".")
        is_old = owner.endswith("LayerNorm") and last in _OLD_NAMES
        renamed[f"{owner}.{_OLD_NAMES[last]}" if is_old else name] = tensor
    return renamed


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path} cannot be read ({error}). It may be truncated.")


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    return ", ".join(sorted(item.name for item in folder.iterdir())) or "an empty folder"
