"""Weight files of every kind, and what is said of one that does not fit."""

import zipfile

import numpy as np
import pytest

from tfcompress import durable
from tfcompress._keras import keras
from tfcompress.backbones import BackboneConfig, WeightsError, _weights, weights_origin


def build(*, seed, width=4, names=("first", "norm", "second"), head=True):
    """Two Dense layers around a BatchNormalization; names may be left to Keras by `None`."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input([3])
    outputs = keras.layers.Dense(width, name=names[0])(inputs)
    outputs = keras.layers.BatchNormalization(name=names[1])(outputs)
    outputs = keras.layers.Dense(5, name=names[2])(keras.layers.ReLU()(outputs))
    if head:
        outputs = keras.layers.Dense(2)(outputs)
    model = keras.Model(inputs, outputs, name="network")
    arrays = [np.random.default_rng(seed).normal(size=v.shape) for v in model.weights]
    model.set_weights(arrays)
    return model


def save(model, path):
    if path.suffix == ".npz":
        _weights.write(path, _weights.of_model(model))
    elif path.name.startswith("model") and path.suffix == ".h5":
        with pytest.warns(UserWarning, match="HDF5"):
            model.save(path)
    elif path.suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path)


def arrays_of(model):
    return [array for layer in model.layers for array in layer.get_weights()]


@pytest.mark.parametrize("names", [("first", "norm", "second"), (None, None, None)])
@pytest.mark.parametrize(
    "file", ["model.keras", "model.h5", "weights.h5", "some.weights.h5", "ours.npz"]
)
def test_every_kind_of_file_fills_the_network_without_its_head(tmp_path, file, names):
    source = build(seed=1, names=names)
    save(source, tmp_path / file)
    target = build(seed=2, names=names, head=False)
    _weights.load_into(target, tmp_path / file)
    np.testing.assert_allclose(
        np.concatenate([array.ravel() for array in arrays_of(target)]),
        np.concatenate([array.ravel() for array in arrays_of(source)[:8]]),
        rtol=1e-6,
    )


@pytest.mark.parametrize("file", ["model.keras", "model.h5", "weights.h5"])
def test_a_model_inside_the_file_s_model_gives_its_layers(tmp_path, file):
    inner = build(seed=1, head=False)
    outer = keras.Sequential([keras.Input([3]), inner, keras.layers.Dense(2)])
    save(outer, tmp_path / file)
    target = build(seed=2, head=False)
    _weights.load_into(target, tmp_path / file)
    for ours, theirs in zip(arrays_of(target), arrays_of(inner), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"width": 6},
            r"in 3 of 3 layers: first expects \[\(3, 4\), \(4,\)\], received \[\(3, 6\), \(6,\)\]; "
            r"norm expects .*; second expects",
        ),
        ({"names": ("first", "other", "second")}, "in 1 of 3 layers: norm is missing"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_changed(tmp_path, source, message):
    save(build(seed=1, **source), tmp_path / "weights.h5")
    target = build(seed=2, head=False)
    before = arrays_of(target)
    with pytest.raises(WeightsError, match=message):
        _weights.load_into(target, tmp_path / "weights.h5")
    for ours, theirs in zip(arrays_of(target), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("file", ["model.keras", "model.h5", "weights.h5", "ours.npz"])
def test_a_truncated_file_is_refused(tmp_path, file):
    path = tmp_path / file
    save(build(seed=1), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WeightsError, match="It may be truncated"):
        _weights.read(path)


@pytest.mark.parametrize("file", ["text.keras", "text.h5", "text.npz"])
def test_another_format_is_refused(tmp_path, file):
    (tmp_path / file).write_text("no weights")
    with pytest.raises(WeightsError, match="cannot be read as a"):
        _weights.read(tmp_path / file)


def test_pickled_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "objects.npz", **{"layer/0": np.array([{}], object)})
    with pytest.raises(WeightsError, match="allow_pickle"):
        _weights.read(tmp_path / "objects.npz")


def test_an_empty_file_is_refused(tmp_path):
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(WeightsError, match="holds no weights"):
        _weights.read(tmp_path / "empty.npz")


def test_written_bytes_are_the_same_each_time(tmp_path):
    arrays = {"b": [np.ones(2)], "a": [np.zeros([2, 2]), np.ones(1)]}
    first = _weights.write(tmp_path / "first.npz", arrays)
    second = _weights.write(tmp_path / "second.npz", arrays)
    assert first == second == durable.sha256_of_file(tmp_path / "first.npz")
    read = _weights.read(tmp_path / "first.npz")
    assert [(name, [a.shape for a in found]) for name, found in read.items()] == [
        ("b", [(2,)]),
        ("a", [(2, 2), (1,)]),
    ]


def test_numbered_names_are_not_trusted():
    """`dense_1` of this process is not `dense_1` of the one that wrote the file."""
    inputs = keras.Input([3])
    outputs = keras.layers.Dense(3, name="dense_2")(keras.layers.Dense(3, name="dense_1")(inputs))
    target = keras.Model(inputs, outputs)
    arrays = {
        "dense": [np.full([3, 3], 0), np.zeros(3)],
        "dense_1": [np.full([3, 3], 1), np.zeros(3)],
        "dense_2": [np.full([3, 3], 2), np.zeros(3)],
    }
    _weights.assign(target, arrays, source="another process")
    assert [layer.get_weights()[0].max() for layer in target.layers[1:]] == [0, 1]


def test_origin_of_a_file_is_its_path_and_hash(tmp_path):
    path = tmp_path / "some.npz"
    digest = _weights.write(path, {"a": [np.ones(1)]})
    config = BackboneConfig(name="lenet5", weights=str(path))
    assert weights_origin(config) == f"file {path}, SHA-256 {digest}"
    assert weights_origin(BackboneConfig(name="lenet5")) == "random"


def test_changed_byte_in_a_compressed_file_is_named(tmp_path):
    path = tmp_path / "w.npz"
    np.savez_compressed(path, **{"first/0": np.zeros([30, 4], np.float32)})
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("first/0.npy").header_offset
    data = bytearray(path.read_bytes())
    names = int.from_bytes(data[start + 26 : start + 28], "little")
    extra = int.from_bytes(data[start + 28 : start + 30], "little")
    data[start + 30 + names + extra] ^= 0xFF  # the type of the first compressed block
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"w\.npz cannot be read as a \.npz weight file"):
        _weights.read(path)


def test_entry_of_an_unknown_compression_is_refused(tmp_path):
    path = tmp_path / "w.npz"
    np.savez_compressed(path, **{"first/0": np.zeros([30, 4], np.float32)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 10] ^= 0xFF  # the compression of the first entry
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"w\.npz cannot be read as a \.npz weight file"):
        _weights.read(path)
