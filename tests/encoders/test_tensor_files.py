"""Tensors of published encoders out of each kind of file, whole, damaged and absent."""

import io
import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tfcompress._keras import tf
from tfcompress.encoders import WeightsError, _tensor_files

BERT = Path(__file__).parent / "references" / "bert"
WORDS = "embeddings.word_embeddings.weight"


@pytest.fixture
def folder(tmp_path):
    """Holds the weights of `references/bert` as a PyTorch file."""
    shutil.copy(BERT / "pytorch_model.bin", tmp_path)
    return tmp_path


def write_safetensors(path, tensors, *, dtype="F32"):
    """The format by hand: the header's length, the header, the numbers."""
    header, numbers = {}, b""
    for name, tensor in tensors.items():
        start, numbers = len(numbers), numbers + tensor.tobytes()
        offsets = [start, len(numbers)]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": offsets}
    described = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(described)) + described + numbers)


def write_checkpoint(folder, tensors):
    tf.raw_ops.SaveV2(
        prefix=str(folder / _tensor_files.CHECKPOINT),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(tensor) for tensor in tensors.values()],
    )


def test_a_file_of_pytorch_itself_is_read(folder):
    tensors, path = _tensor_files.read_folder(folder)
    assert path == folder / "pytorch_model.bin"
    # 5 of the embeddings, 16 of each of two layers, 2 of the pooler.
    assert len(tensors) == 5 + 2 * 16 + 2
    assert tensors[WORDS].shape == (20, 8)
    assert tensors["encoder.layer.1.intermediate.dense.weight"].shape == (12, 8)


def test_both_files_of_hugging_face_hold_the_same(folder):
    pytest.importorskip("safetensors")
    from_torch, _ = _tensor_files.read_folder(folder)
    shutil.copy(BERT / "model.safetensors", folder)
    tensors, path = _tensor_files.read_folder(folder)
    # Of two files the safetensors one is read.
    assert path.name == "model.safetensors"
    assert tensors.keys() == from_torch.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, from_torch[name])


def test_a_safetensors_file_written_by_hand_is_read(tmp_path):
    pytest.importorskip("safetensors")
    given = {"a": np.float32([[1, 2], [3, 4]]), "b": np.float32([5])}
    write_safetensors(tmp_path / "model.safetensors", given)
    tensors, _ = _tensor_files.read_folder(tmp_path)
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "a": [[1, 2], [3, 4]],
        "b": [5],
    }


def test_older_names_of_normalization_are_made_new(tmp_path):
    pytest.importorskip("safetensors")
    names = ("embeddings.LayerNorm.gamma", "embeddings.LayerNorm.beta", "head.gamma")
    write_safetensors(tmp_path / "model.safetensors", dict.fromkeys(names, np.float32([1])))
    tensors, _ = _tensor_files.read_folder(tmp_path)
    assert set(tensors) == {
        "embeddings.LayerNorm.weight",
        "embeddings.LayerNorm.bias",
        "head.gamma",
    }


def test_googles_checkpoints_are_read(tmp_path):
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    inner = "bert/encoder/layer_11/intermediate/dense"
    given = {
        f"{inner}/kernel": kernel,
        f"{inner}/bias": np.float32([7, 8, 9]),
        f"{inner}/kernel/adam_m": kernel,
        f"{inner}/kernel/adam_v": kernel,
        "bert/embeddings/word_embeddings": kernel,
        "bert/embeddings/LayerNorm/gamma": np.float32([1]),
        "bert/embeddings/LayerNorm/beta": np.float32([2]),
        "cls/seq_relationship/output_bias": np.float32([3]),
        "global_step": np.int64(5),
    }
    write_checkpoint(tmp_path, given)
    tensors, path = _tensor_files.read_folder(tmp_path)
    assert path.name == "bert_model.ckpt.index"
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        # PyTorch keeps matrices as [outputs, inputs], tables as they are.
        "bert.encoder.layer.11.intermediate.dense.weight": [[0, 3], [1, 4], [2, 5]],
        "bert.encoder.layer.11.intermediate.dense.bias": [7, 8, 9],
        "bert.embeddings.word_embeddings.weight": [[0, 1, 2], [3, 4, 5]],
        "bert.embeddings.LayerNorm.weight": [1],
        "bert.embeddings.LayerNorm.bias": [2],
        "cls.seq_relationship.output_bias": [3],
    }


@pytest.mark.parametrize("cut", [1, 200, 5000, 9600])
def test_a_truncated_safetensors_file_is_refused(tmp_path, cut):
    pytest.importorskip("safetensors")
    whole = (BERT / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-cut])
    with pytest.raises(WeightsError, match=r"model.safetensors cannot be read .* truncated"):
        _tensor_files.read_folder(tmp_path)


@pytest.mark.parametrize("cut", [1, 200, 5000, 20000])
def test_a_truncated_file_of_pytorch_is_refused(folder, cut):
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(WeightsError, match=r"pytorch_model.bin cannot be read\. .* truncated"):
        _tensor_files.read_folder(folder)


@pytest.mark.parametrize("part", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("left", [0, 40, None], ids=["empty", "cut", "absent"])
def test_a_damaged_checkpoint_is_refused(tmp_path, part, left):
    write_checkpoint(tmp_path, {"a": np.zeros([100], np.float32), "b": np.zeros([9], np.float32)})
    path = tmp_path / f"{_tensor_files.CHECKPOINT}{part}"
    whole = path.read_bytes()
    path.unlink() if left is None else path.write_bytes(whole[:left])
    message = "cannot be read" if path.exists() or part != ".index" else "holds no weights"
    with pytest.raises(WeightsError, match=message):
        _tensor_files.read_folder(tmp_path)


def test_numbers_that_numpy_lacks_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    # 1 and -2.5, the upper halves of their float32.
    write_safetensors(path, {"a": np.uint16([0x3F80, 0xC020])}, dtype="BF16")
    (tensor,) = _tensor_files.read_safetensors(path).values()
    np.testing.assert_array_equal(np.float32(tensor), [1, -2.5])
    write_safetensors(path, {"a": np.zeros([2], np.int8)}, dtype="F8_E4M3")
    with pytest.raises(WeightsError, match=r"type that numpy lacks .* Save it as float32"):
        _tensor_files.read_folder(tmp_path)


def test_code_in_a_file_of_pytorch_is_not_run(tmp_path):
    stream, marker = io.BytesIO(), tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (marker,)

    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Hostile()}))
    (tmp_path / "pytorch_model.bin").write_bytes(stream.getvalue())
    with pytest.raises(WeightsError, match=r"Nothing of it was run"):
        _tensor_files.read_folder(tmp_path)
    assert not marker.exists()


def test_a_folder_without_weights_says_what_is_expected(tmp_path):
    expected = r"Expected one of model.safetensors, pytorch_model.bin, bert_model.ckpt.index."
    with pytest.raises(WeightsError, match=rf"{expected} Received: an empty folder"):
        _tensor_files.read_folder(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(WeightsError, match=r"Received: model-00001-of-00002.safetensors\."):
        _tensor_files.read_folder(tmp_path)
    with pytest.raises(WeightsError, match=r"Received: no such folder"):
        _tensor_files.read_folder(tmp_path / "none")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    shutil.copy(BERT / "model.safetensors", tmp_path)
    monkeypatch.setattr(_tensor_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"needs the package safetensors, .*pip install -e"):
        _tensor_files.read_folder(tmp_path)
