import numpy as np
import pytest

from tfcompress.litert import Session, TensorDetails


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
