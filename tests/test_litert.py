import timeit

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfcompress import flatbuffer, native_output
from tfcompress._keras import tf
from tfcompress.file_building import FileBuilder
from tfcompress.litert import GraphSession, Session, Share, TensorDetails, check_inputs


def test_quantize_rounds_shifts_and_clips():
    details = TensorDetails((4,), np.dtype(np.int8), scale=0.5, zero_point=-3)
    stored = details.quantize(np.array([0.0, 1.3, 100.0, -100.0], np.float32))
    assert stored.tolist() == [-3, 0, 127, -128]
    assert stored.dtype == np.int8
    assert details.dequantize(stored).tolist() == [0.0, 1.5, 65.0, -62.5]


def test_float_tensor_passes_through():
    details = TensorDetails((2,), np.dtype(np.float32))
    values = np.array([0.1, -7.0], np.float32)
    assert details.quantize(values) is values
    assert details.dequantize(values) is values


@pytest.mark.parametrize(
    "counts", [{"threads": 0}, {"batch": -1}, {"batch": 1.5}, {"threads": True}]
)
def test_counts_below_one_are_refused(exported, counts):
    with pytest.raises(ValueError, match=f"{next(iter(counts))} must be an integer of at least 1"):
        exported("int8").session(**counts)


@pytest.mark.parametrize(
    ("counts", "most"), [({"threads": 100_000}, "256"), ({"batch": 10_000_000}, "65,536")]
)
def test_counts_that_would_end_the_process_are_refused(exported, counts, most):
    with pytest.raises(ValueError, match=f"{next(iter(counts))} must be .* at most {most}"):
        exported("int8").session(**counts)


def test_most_threads_run(exported):
    session = exported("int8").session(threads=256)
    assert session.run(np.zeros([1, 12, 12, 1], np.int8)).shape == (1, 4)


def test_session_has_the_asked_batch_and_refuses_another(exported):
    session = exported("int8").session(batch=3, threads=2)
    assert session.input_details.shape == (3, 12, 12, 1)
    assert session.output_details.shape == (3, 4)
    assert session.run(np.zeros([3, 12, 12, 1], np.int8)).dtype == np.int8
    # The same count of bytes in another dtype or shape must not pass.
    for inputs in (np.zeros([3, 12, 12, 1], np.uint8), np.zeros([1, 12, 12, 3], np.int8)):
        with pytest.raises(ValueError, match=r"int8 \[3, 12, 12, 1\]"):
            session.run(inputs)


def test_file_that_litert_refuses_is_named(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 64)
    with pytest.raises(ValueError, match=r"bad\.tflite cannot be loaded"):
        Session(tmp_path / "bad.tflite")
    with pytest.raises(FileNotFoundError, match=r"none\.tflite"):
        Session(tmp_path / "none.tflite")


def test_xnnpack_can_be_left_out(exported):
    data = exported("int8").data
    with_it, without = Session(data).plan(), Session(data, kernels="builtin").plan()
    own = tuple(node for node in with_it if node[0] != "DELEGATE")
    assert without == own
    assert [name for name, _, _ in own][:2] == ["CONV_2D", "DEPTHWISE_CONV_2D"]
    # XNNPACK takes over the whole graph, from the image to the logits.
    (delegate,) = (node for node in with_it if node[0] == "DELEGATE")
    assert delegate[2] == 1


def file_of(function, *inputs):
    """The TFLite file of a function of tensors."""
    signature = [tf.TensorSpec(shape, dtype) for shape, dtype in inputs]
    traced = tf.function(function, signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    said = []
    with native_output.held(said):
        return converter.convert()


@pytest.fixture(scope="module")
def two_ways():
    """Two inputs of two types, two outputs: twice the first, and the second plus one."""
    return file_of(lambda a, b: (2.0 * a, b + 1), ([None, 3], tf.float32), ([None, 2, 2], tf.int32))


def test_several_inputs_and_outputs_keep_their_order_and_types(two_ways):
    session = GraphSession(two_ways, batch=4)
    assert session.inputs == (
        TensorDetails((4, 3), np.dtype(np.float32)),
        TensorDetails((4, 2, 2), np.dtype(np.int32)),
    )
    first = np.arange(12, dtype=np.float32).reshape(4, 3)
    second = np.arange(16, dtype=np.int32).reshape(4, 2, 2)
    outputs = session.run([first, second])
    assert [output.dtype for output in outputs] == [one.dtype for one in session.outputs]
    by_type = {output.dtype.kind: output for output in outputs}
    np.testing.assert_array_equal(by_type["f"], 2 * first)
    np.testing.assert_array_equal(by_type["i"], second + 1)


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda a, b: [b, a], r"int32 \[1, 2, 2\], float32 \[1, 3\]"),
        (lambda a, b: [a], r"float32 \[1, 3\]"),
        (lambda a, b: [], "nothing"),
        (lambda a, b: [a, b.view(np.float32)], r"float32 \[1, 3\], float32 \[1, 2, 2\]"),
        (lambda a, b: [a.astype(np.float64), b], r"float64 \[1, 3\], int32 \[1, 2, 2\]"),
        (lambda a, b: [a.reshape(3, 1), b], r"float32 \[3, 1\], int32 \[1, 2, 2\]"),
        (lambda a, b: [a, b.tolist()], r"float32 \[1, 3\], list"),
        (lambda a, b: [a.astype(">f4"), b], r">f4 \[1, 3\], int32 \[1, 2, 2\]"),
    ],
    ids=["swapped", "too few", "none", "same bytes", "wider", "turned", "no array", "byte order"],
)
def test_inputs_of_another_kind_are_refused(two_ways, change, received):
    session = GraphSession(two_ways)
    inputs = change(np.zeros([1, 3], np.float32), np.zeros([1, 2, 2], np.int32))
    said = rf"The 2 inputs must be float32 \[1, 3\] and int32 \[1, 2, 2\]. Received: {received}\."
    with pytest.raises(ValueError, match=said):
        session.run(inputs)
    # What the runtimes check for engines that would take it.
    with pytest.raises(ValueError, match=said):
        check_inputs(inputs, session.inputs)


def test_single_image_session_refuses_a_file_of_two_inputs(two_ways):
    with pytest.raises(ValueError, match=r"has 2 inputs and 2 outputs. Expected one input"):
        Session(two_ways)


def test_batch_that_no_output_follows_is_refused():
    # Every batch gives one row: a time for batch 3 would be one of another thing.
    data = file_of(lambda x: tf.reduce_sum(x, 0, keepdims=True), ([None, 4], tf.float32))
    assert GraphSession(data).outputs[0].shape == (1, 4)
    with pytest.raises(
        ValueError, match=r"takes batch 3 but does not give every .* float32 \[1, 4\]. Its own"
    ):
        GraphSession(data, batch=3)


def test_batch_that_one_output_does_not_follow_is_refused():
    # The second output, which all the work goes to, is that of the first example alone.
    builder = FileBuilder()
    given, first, sliced, second = (builder.tensor([1, size]) for size in (64, 64, 64, 32))
    begin, size = (builder.constant(np.array(x, np.int32)) for x in ([0, 0], [1, 64]))
    builder.operator("LOGISTIC", [given], [first])
    builder.operator("SLICE", [given, begin, size], [sliced])
    kernel = builder.constant(np.ones((32, 64), np.float32))
    builder.operator("FULLY_CONNECTED", [sliced, kernel, -1], [second])
    data = builder.build([given], [first, second])
    assert [one.shape for one in GraphSession(data).outputs] == [(1, 64), (1, 32)]
    with pytest.raises(ValueError, match=r"float32 \[8, 64\] and float32 \[1, 32\]. Its own inp"):
        GraphSession(data, batch=8)


def test_first_axis_that_is_no_batch_stays_as_the_file_states_it():
    builder = FileBuilder()
    wave, squashed = builder.tensor([16000]), builder.tensor([16000])
    builder.operator("LOGISTIC", [wave], [squashed])
    shape = builder.constant(np.array([1, -1], np.int32))
    row = builder.tensor([1, 16000])
    builder.operator("RESHAPE", [squashed, shape], [row], newShape=[1, -1])
    data = builder.build([wave], [row])
    session = GraphSession(data)
    assert (session.inputs[0].shape, session.outputs[0].shape) == ((16000,), (1, 16000))
    for batch in (2, 16000):
        with pytest.raises(ValueError, match=rf"no batch: .* Received: batch {batch}. Pass .* 1\."):
            GraphSession(data, batch=batch)


def test_stated_batch_that_inputs_and_outputs_share_is_changed():
    builder = FileBuilder()
    given, kernel = builder.tensor([8, 64]), builder.constant(np.ones((32, 64), np.float32))
    result = builder.tensor([8, 32])
    builder.operator("FULLY_CONNECTED", [given, kernel, -1], [result])
    session = GraphSession(builder.build([given], [result]), batch=1)
    assert (session.inputs[0].shape, session.outputs[0].shape) == ((1, 64), (1, 32))


def test_batch_that_the_graph_cannot_take_is_refused_with_its_own():
    data = file_of(lambda x: (tf.reshape(x, [2, 8]), x + 1), ([4, 4], tf.float32))
    assert GraphSession(data, batch=4).inputs[0].shape == (4, 4)
    with pytest.raises(
        ValueError, match=r"with batch 3: (.|\n)* Its own inputs are float32 \[4, 4\]"
    ):
        GraphSession(data, batch=3)


def test_open_sizes_are_refused():
    data = file_of(lambda x: x + 1.0, ([None, None, None, 3], tf.float32))
    with pytest.raises(ValueError, match=r"sizes \[-1, -1, -1, 3\] in which -1 is open"):
        GraphSession(data)


def test_inputs_without_the_batch_stay_beside_those_that_have_it():
    data = file_of(
        lambda x, y, z: x + y + tf.reduce_sum(z),
        ([None, 3], tf.float32),
        ([], tf.float32),
        ([5], tf.float32),
    )
    session = GraphSession(data, batch=2)
    assert sorted(one.shape for one in session.inputs) == [(), (2, 3), (5,)]
    assert session.outputs[0].shape == (2, 3)


def test_output_of_text_is_refused_by_its_name():
    builder = FileBuilder()
    given, result = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("LOGISTIC", [given], [result])
    text = builder.tensor([1], type="STRING")
    said = rf"has an output of text, 't{text}'"
    with pytest.raises(ValueError, match=said):
        GraphSession(builder.build([given], [result, text]))


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
def test_operator_that_litert_lacks_is_named(exported, kernels):
    model = flatbuffer.parse(exported("int8").data, source="the file")
    code = model.operatorCodes[0]
    code.customCode = "NobodysOperator"
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    data = flatbuffer.write_metadata(model, "none", b"")
    with pytest.raises(ValueError, match=r"with batch 1: (.|\n)*NobodysOperator") as caught:
        GraphSession(data, kernels=kernels)
    assert "Its own inputs" not in str(caught.value)


@pytest.mark.parametrize("format", ["float32", "int8"])
def test_truncated_file_is_refused_wherever_it_ends(exported, format, tmp_path):
    whole = exported(format).data
    ends = {0, 1, 4, 7, 8, 12, 20, 40, 100, 1000, *range(len(whole) // 9, len(whole), 997)}
    for end in sorted({*ends, len(whole) - 16, len(whole) - 4, len(whole) - 1}):
        path = tmp_path / "cut.tflite"
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"cut\.tflite cannot be loaded by LiteRT: .*whole"):
            GraphSession(path)
        if end:
            with pytest.raises(ValueError, match="The TFLite model cannot be loaded"):
                GraphSession(whole[:end])


def test_share_names_what_xnnpack_left(exported):
    def function(x):
        # Two matrix products, and between them a sum that XNNPACK has no kernel for.
        first = tf.matmul(x, np.eye(8, dtype=np.float32) * 2)
        return tf.matmul(tf.cumsum(first, axis=1), np.eye(8, dtype=np.float32) * 3)

    session = GraphSession(file_of(function, ([1, 8], tf.float32)))
    assert session.share() == Share(operators=3, taken=2, parts=2, left=("CUMSUM",))
    (output,) = session.run([np.ones([1, 8], np.float32)])
    assert output.tolist() == [[6, 12, 18, 24, 30, 36, 42, 48]]
    names = [operator.name for operator in exported("int8").operators]
    whole = GraphSession(exported("int8").data).share()
    assert whole == Share(operators=len(names), taken=len(names), parts=1, left=())
    without = GraphSession(exported("int8").data, kernels="builtin").share()
    assert without == Share(operators=len(names), taken=0, parts=0, left=tuple(names))


def test_a_call_costs_little_beyond_the_engine(exported):
    """An engine that does nothing shows what the session adds: at most 2 us in the best of many."""

    class Idle:
        def set_tensor(self, index, array):
            pass

        def invoke(self):
            pass

        def get_tensor(self, index):
            pass

    session = GraphSession(exported("int8").data)
    inputs = [np.zeros(one.shape, one.dtype) for one in session.inputs]
    session._interpreter = engine = Idle()

    def bare():
        engine.set_tensor(0, inputs[0])
        engine.invoke()
        return engine.get_tensor(0)

    through, around = (
        min(timeit.repeat(call, number=500, repeat=200)) / 500
        for call in (lambda: session.run(inputs), bare)
    )
    assert through - around < 2e-6
