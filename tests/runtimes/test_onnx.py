import numpy as np
import pytest

from tfcompress import runtimes
from tfcompress.runtimes import onnx as runtime

for package in ("onnxruntime", "onnx", "tf2onnx"):
    pytest.importorskip(package, reason="needs the extra onnx")

CPU = runtime.Options()


@pytest.fixture
def graph_file(tmp_path):
    """Writes an ONNX file of one kind of operator."""
    from onnx import TensorProto, helper

    def write(operator="Add", shapes=(("batch", 3), ("batch", 3)), kind="FLOAT", domain=""):
        number = getattr(TensorProto, kind)
        names = [f"x{index}" for index in range(len(shapes))]
        inputs = [
            helper.make_tensor_value_info(name, number, shape)
            for name, shape in zip(names, shapes, strict=True)
        ]
        output = helper.make_tensor_value_info("y", number, None)
        node = helper.make_node(operator, names, ["y"], domain=domain)
        graph = helper.make_graph([node], "graph", inputs, [output])
        opsets = [helper.make_opsetid("", 17)]
        if domain:
            opsets.append(helper.make_opsetid(domain, 1))
        path = tmp_path / "graph.onnx"
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        path.write_bytes(model.SerializeToString())
        return path

    return write


def test_int8_file_keeps_its_integers(exported, quadrants, tmp_path):
    path = tmp_path / "int8.tflite"
    exported("int8").save(path)
    session = runtime.open(path, threads=2, batch=4, options=CPU)
    (details,) = session.inputs
    assert details.dtype == np.int8
    single = exported("int8").session(batch=4)
    inputs = single.input_details.quantize(quadrants.inputs[:4])
    (outputs,) = session.run([inputs])
    assert outputs.dtype == np.int8
    # One step of the output, for another order of rounding.
    difference = outputs.astype(int) - single.run(inputs).astype(int)
    assert np.abs(difference).max() <= 1
    assert session.placement.details == {"provider": "CPUExecutionProvider"}


def test_file_is_converted_once(exported, tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    exported("float32").save(path)
    calls = []
    monkeypatch.setattr(runtime, "_convert", lambda path: calls.append(path) or b"no graph")
    runtime.prepare(path, CPU)
    runtime.prepare(path, CPU)
    with pytest.raises(ValueError, match=r"model\.tflite cannot be loaded by ONNX Runtime"):
        runtime.open(path, threads=1, batch=1, options=CPU)
    assert calls == [path]


def test_conversion_that_takes_too_long_is_ended(exported, tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    exported("float32").save(path)
    monkeypatch.setattr(runtime, "_CONVERSION_SECONDS", 0.01)
    with pytest.raises(ValueError, match=r"model\.tflite was not converted to ONNX within 0\.01 s"):
        runtime.prepare(path, CPU)


def test_missing_converter_is_named(exported, tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    exported("float32").save(path)
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"Not installed: tf2onnx.* tfcompress\[onnx\]"):
        runtime.prepare(path, CPU)
    assert "onnxruntime is not installed" in runtimes.choose("onnx").unavailable()


def test_onnx_file_with_two_inputs(graph_file):
    session = runtime.open(graph_file(), threads=1, batch=2, options=CPU)
    assert [one.shape for one in session.inputs] == [(2, 3), (2, 3)]
    first, second = np.float32([[1, 2, 3], [4, 5, 6]]), np.full([2, 3], 10, np.float32)
    (total,) = session.run([first, second])
    assert total.tolist() == [[11, 12, 13], [14, 15, 16]]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"shapes": (("batch", "width"),) * 2}, r"sizes \['batch', 'width'\]. Expected fixed"),
        ({"shapes": ((4, 3),) * 2}, r"sizes \[4, 3\]. .* open or the batch, 2"),
        ({"shapes": ((2, 3), ())}, "a scalar input, 'x1'"),
        ({"kind": "STRING", "operator": "Identity", "shapes": ((2, 3),)}, "tensor.string."),
        ({"domain": "nobody", "operator": "Own"}, "cannot be loaded .*Own"),
    ],
    ids=["open", "other batch", "scalar", "text", "unknown operator"],
)
def test_graphs_that_cannot_be_measured_are_refused(graph_file, written, said):
    with pytest.raises(ValueError, match=rf"graph\.onnx .*{said}"):
        runtime.open(graph_file(**written), threads=1, batch=2, options=CPU)


def test_graph_that_fails_as_it_runs_is_reported(graph_file):
    # [3, 2] times [3, 2], which only batch 2 would fit.
    path = graph_file("MatMul", (("batch", 2), ("rows", 2)))
    session = runtime.open(path, threads=1, batch=3, options=CPU)
    with pytest.raises(RuntimeError, match="ONNX Runtime cannot run the graph"):
        session.run([np.zeros([3, 2], np.float32)] * 2)


def test_gpu_that_is_not_there_is_said():
    with pytest.raises(ValueError, match=r"onnx's provider: 'tpu'. Known: cpu, cuda"):
        runtimes.choose("onnx(provider=tpu)")
    reason = runtimes.choose("onnx(provider=cuda)").unavailable()
    assert reason is None or "no CUDAExecutionProvider. It has: " in reason


def test_another_provider_than_the_one_asked_for_is_refused(graph_file):
    if runtimes.choose("onnx(provider=cuda)").unavailable() is None:
        pytest.skip("needs an onnxruntime without CUDA")
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(ValueError, match=r"CUDAExecutionProvider|CPU EP"),
    ):
        runtime.open(graph_file(), threads=1, batch=2, options=runtime.Options(provider="cuda"))
