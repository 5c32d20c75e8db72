import numpy as np
import pytest

from tfcompress.byte_counts import DEFINITIONS, ByteTable, byte_table, definitions, entropy_bytes


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7] * 16, 0.0),
        # One bit for each of 16.
        ([0, 1] * 8, 2.0),
        # 8 of 16 at one bit, 4 and 4 of 16 at two bits: 24 bits.
        ([0] * 8 + [1] * 4 + [2] * 4, 3.0),
    ],
    ids=["one", "two", "three"],
)
def test_entropy_by_hand(values, expected):
    assert entropy_bytes(np.array(values, np.int8)) == pytest.approx(expected)


@pytest.fixture(scope="module")
def clustered(quadrants):
    """A file whose dense kernel holds two zeros in three, and otherwise one value."""
    from tfcompress._keras import keras
    from tfcompress.export import convert

    model = keras.models.clone_model(quadrants.model)
    model.set_weights(quadrants.model.get_weights())
    kernel, bias = model.get_layer("logits").get_weights()
    values = np.where(np.arange(kernel.size) % 3 == 0, np.float32(0.5), np.float32(0))
    model.get_layer("logits").set_weights([values.reshape(kernel.shape), bias])
    return convert(model, "float32", metadata=quadrants.metadata)


def test_four_ways_to_count_one_file(clustered, tmp_path):
    artifact = clustered.save(tmp_path / "a.tflite")
    found = byte_table(artifact)
    # 8 filters of 3x3x1, 8 depthwise ones of 3x3, and 4 outputs of 4*4*8 inputs, 4 bytes each.
    sizes = [8 * 9 * 4, 8 * 9 * 4, 4 * 128 * 4]
    assert found.raw_kernels == sum(sizes)
    assert found.raw == artifact.size_bytes
    assert found.gzip == artifact.gzip_size_bytes
    assert found.other == found.raw - sum(sizes)
    # 171 of 512 are used: 4 bytes each, a byte for the index, and 5 beginnings. No other has zeros.
    assert found.sparse_kernels == sizes[0] + sizes[1] + 171 * 5 + 5
    bits = 171 * np.log2(512 / 171) + 341 * np.log2(512 / 341)
    assert found.entropy_kernels == sizes[0] + sizes[1] + np.ceil(bits / 8) + 2 * (4 + 1)
    assert found.sparse - found.sparse_kernels == found.entropy - found.entropy_kernels
    assert found.sparse - found.sparse_kernels == found.other


def test_a_kernel_that_two_tensors_share_counts_once():
    from tfcompress._keras import keras
    from tfcompress.export import convert
    from tfcompress.minimal import minimize

    inputs = keras.Input([6, 6, 2])
    layers = [keras.layers.Conv2D(2, 3, padding="same", activation="relu") for _ in range(2)]
    x = layers[1](layers[0](inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    layers[1].set_weights(layers[0].get_weights())
    artifact = convert(model, "float32")
    # 3*3*2*2 in each of the two, and 2*3, of 4 bytes.
    assert byte_table(artifact).raw_kernels in (4 * (36 + 6), 4 * (36 + 36 + 6))
    assert byte_table(minimize(artifact).artifact).raw_kernels == 4 * (36 + 6)


def test_the_table_as_text():
    table = ByteTable("a.tflite", 1000, 700, 900, 600, 800, 700, 400)
    assert str(table).splitlines() == [
        "a.tflite",
        "bytes          kernels    all else        file",
        "raw                800         200       1,000",
        "gzip                                       700",
        "sparse             700         200         900",
        "entropy            400         200         600",
    ]
    assert len(definitions().splitlines()) == len(DEFINITIONS) == 4
