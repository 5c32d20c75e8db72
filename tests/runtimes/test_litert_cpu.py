import numpy as np
import pytest

from tfcompress import flatbuffer, runtimes
from tfcompress._keras import keras, tf
from tfcompress.export import convert


@pytest.fixture(scope="module")
def partly_taken():
    """Two matrix products, and between them a sum that XNNPACK has no kernel for."""
    inputs = keras.Input([8])
    x = keras.layers.Dense(8, use_bias=False)(inputs)
    x = keras.layers.Lambda(lambda values: tf.cumsum(values, axis=1))(x)
    return keras.Model(inputs, keras.layers.Dense(2, use_bias=False)(x))


def placed(path, kernels):
    session = runtimes.choose(f"litert_cpu(kernels={kernels})").open(path)
    assert session.placement.device == "cpu"
    assert session.placement.left_over == ()
    return session.placement.details


def test_placement_says_what_xnnpack_took(exported, partly_taken, tmp_path):
    whole, partly = tmp_path / "whole.tflite", tmp_path / "partly.tflite"
    exported("int8").save(whole)
    convert(partly_taken, "float32").save(partly)
    count = str(len(exported("int8").operators))
    assert placed(whole, "xnnpack") == {
        "kernels": "xnnpack",
        "operators": count,
        "by_xnnpack": count,
        "xnnpack_parts": "1",
    }
    assert placed(partly, "xnnpack") == {
        "kernels": "xnnpack",
        "operators": "3",
        "by_xnnpack": "2",
        "xnnpack_parts": "2",
        "left_to_builtin": "1 CUMSUM",
    }
    for kernels in ("builtin", "reference"):
        assert placed(partly, kernels) == {"kernels": kernels, "operators": "3"}


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
def test_kernels_agree(exported, quadrants, tmp_path, kernels):
    path = tmp_path / "model.tflite"
    exported("float32").save(path)
    session = runtimes.choose(f"litert_cpu(kernels={kernels})").open(path, threads=2, batch=4)
    (outputs,) = session.run([quadrants.inputs[:4]])
    expected = quadrants.model(quadrants.inputs[:4], training=False).numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_open_size_in_a_file_is_refused(exported, tmp_path):
    model = flatbuffer.parse(exported("float32").data, source="the file")
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shapeSignature = np.int32([-1, -1, -1, 1])
    path = tmp_path / "open.tflite"
    path.write_bytes(flatbuffer.write_metadata(model, "none", b""))
    with pytest.raises(ValueError, match=r"open\.tflite has an input of sizes \[-1, -1, -1, 1\]"):
        runtimes.choose("litert_cpu").open(path)


def test_unknown_kernels_are_refused():
    with pytest.raises(ValueError, match=r"kernels: 'fast'. Known: xnnpack, builtin, reference"):
        runtimes.choose("litert_cpu(kernels=fast)")
