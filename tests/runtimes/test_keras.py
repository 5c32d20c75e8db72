"""Ways and places of running a Keras model, in this process, whose threads are left alone."""

import numpy as np
import pytest

from tfcompress import runtimes
from tfcompress._keras import keras, tf
from tfcompress.runtimes.keras import KerasSession, Options, elsewhere

ON_A_GPU = Options(device="gpu")


def no_gpu():
    return runtimes.choose("keras(device=gpu)").unavailable() is not None


@pytest.mark.parametrize("mode", ["function", "eager", "xla"])
def test_every_mode_gives_the_outputs_of_the_model(quadrants, mode):
    session = KerasSession(quadrants.model, batch=2, options=Options(mode=mode))
    (outputs,) = session.run([quadrants.inputs[:2]])
    expected = quadrants.model(quadrants.inputs[:2], training=False).numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert session.placement.left_over == ()
    assert session.placement.details["mode"] == mode


@pytest.mark.parametrize("mode", ["function", "eager", "xla"])
def test_inputs_by_name_are_taken_in_the_order_that_is_said(mode):
    counts, values = keras.Input([3], dtype="int32", name="counts"), keras.Input([2], name="values")
    total = keras.layers.Lambda(lambda x: tf.reduce_sum(x, 1))(counts)
    model = keras.Model(
        {"values": values, "counts": counts}, {"total": total, "twice": 2.0 * values}
    )
    session = KerasSession(model, batch=2, options=Options(mode=mode))
    assert [(one.shape, str(one.dtype)) for one in session.inputs] == [
        ((2, 3), "int32"),
        ((2, 2), "float32"),
    ]
    total, twice = session.run([np.int32([[1, 2, 3], [4, 5, 6]]), np.float32([[1, 2], [3, 4]])])
    assert total.tolist() == [6, 15]
    assert twice.tolist() == [[2, 4], [6, 8]]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"shape": [None, None, 3]}, r"sizes \[None, None, None, 3\]. Expected fixed"),
        ({"shape": [3], "batch_size": 4}, r"sizes \[4, 3\]. .* open or the batch, 5"),
        ({"shape": [1], "dtype": "string"}, "an input of text"),
    ],
    ids=["open", "other batch", "text"],
)
def test_inputs_that_cannot_be_fed_are_refused(inputs, said):
    given = keras.Input(**inputs)
    model = keras.Model(given, keras.layers.Lambda(tf.identity)(given))
    with pytest.raises(ValueError, match=said):
        KerasSession(model, batch=5, options=Options())


def test_model_that_was_not_built_is_refused():
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="no fixed inputs"):
        KerasSession(model, batch=5, options=Options())


def test_what_xla_cannot_compile_is_reported():
    inputs = keras.Input([3])
    lengths = keras.layers.Lambda(lambda x: tf.strings.length(tf.strings.as_string(x)))(inputs)
    model = keras.Model(inputs, lengths)
    session = KerasSession(model, batch=1, options=Options(mode="xla"))
    with pytest.raises(RuntimeError, match=r"mode=xla on the cpu: (.|\n)*(AsString|StringLength)"):
        session.run([np.ones([1, 3], np.float32)])


def test_operators_and_variables_elsewhere_are_named():
    with tf.device("/CPU:0"):
        weights = tf.Variable([[1.0], [2.0]])

    @tf.function(input_signature=[tf.TensorSpec([1, 2])])
    def function(x):
        with tf.device("/device:GPU:0"):
            x = tf.nn.relu(tf.matmul(x, weights))
            with tf.device("/device:CPU:0"):
                x = tf.math.cumsum(x)
            return tf.exp(x)

    graph = function.get_concrete_function().graph
    assert elsewhere(graph, "gpu") == ("Cumsum", "VARIABLE")
    assert elsewhere(graph, "cpu") == ("MatMul", "Relu", "Exp")


def test_a_fallback_to_the_processor_is_no_gpu_figure(quadrants):
    if not no_gpu():
        pytest.skip("needs a machine on which TensorFlow sees no GPU")
    session = KerasSession(quadrants.model, batch=1, options=ON_A_GPU)
    # TensorFlow's default: what cannot run on the GPU runs on the processor, in silence.
    session.run([quadrants.inputs[:1]])
    with pytest.raises(RuntimeError, match=r"asked for on the gpu. TensorFlow put them on .*CPU:0"):
        _ = session.placement


def test_no_operator_may_leave_the_gpu(quadrants):
    if not no_gpu():
        pytest.skip("needs a machine on which TensorFlow sees no GPU")
    before = tf.config.get_soft_device_placement()
    try:
        # As `open` sets it.
        tf.config.set_soft_device_placement(False)
        session = KerasSession(quadrants.model, batch=1, options=ON_A_GPU)
        with pytest.raises(RuntimeError, match=r"on the gpu: (.|\n)*GPU:0"):
            session.run([quadrants.inputs[:1]])
    finally:
        tf.config.set_soft_device_placement(before)


def test_options_list_what_there_is():
    with pytest.raises(ValueError, match=r"keras's mode: 'jit'. Known: function, eager, xla"):
        runtimes.choose("keras(mode=jit)")
    with pytest.raises(ValueError, match=r"keras's device: 'tpu'. Known: cpu, gpu"):
        runtimes.choose("keras(device=tpu)")


def test_reason_why_there_is_no_gpu():
    reason = runtimes.choose("keras(device=gpu)").unavailable()
    if tf.config.list_physical_devices("GPU"):
        assert reason is None
    else:
        assert "no GPU" in reason
    assert runtimes.choose("keras").unavailable() is None
