"""The proof of device, on a software Vulkan where this machine has one; see docs/gpu.md."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfcompress import litert, runtimes, vulkan
from tfcompress.file_building import FileBuilder

SOFTWARE = "litert_gpu(software=true, precision=float32)"
PARTIAL = "litert_gpu(software=true, precision=float32, partial=true)"
STANDARD_FOLDERS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
EXCLUDE = "LITERT_GPU_DEBUG_EXCLUDE_NODES"

# A GPU's context stays in its process until that ends, so each check has one of its own.
SCRIPT = """
import dataclasses, json, sys
import numpy as np
from tfcompress import runtimes
name, path, given = sys.argv[1:4]
try:
    engine = runtimes.choose(name)
    engine.prepare(path)
    inputs = list(np.load(given).values())
    session = engine.open(path, threads=1, batch=len(inputs[0]))
    outputs = session.run(inputs)
    reply = {"outputs": [output.tolist() for output in outputs],
             "dtypes": [str(output.dtype) for output in outputs]}
    for extra in sys.argv[4:]:
        exec(extra)
    reply["placement"] = dataclasses.asdict(session.placement)
    reply["heavy"] = [m for m in ("tensorflow", "absl", "rich", "scipy") if m in sys.modules]
except (ValueError, RuntimeError) as error:
    reply = {"error": str(error), "kind": type(error).__name__}
print(json.dumps(reply))
"""


@pytest.fixture(scope="module")
def software():
    """Variables under which Vulkan has a software rasterizer and nothing else."""
    folders = [Path(folder) for folder in STANDARD_FOLDERS]
    drivers = sorted(found for folder in folders for found in folder.glob("lvp_icd*.json"))
    candidates = [os.environ, *(os.environ | {"VK_DRIVER_FILES": str(one)} for one in drivers)]
    reason = ""
    for candidate in candidates:
        try:
            devices = vulkan.devices(candidate)
        except vulkan.VulkanError as error:
            reason = str(error)
            continue
        if devices and all(device.type == "CPU" for device in devices):
            return dict(candidate)
        reason = f"Vulkan has {devices}."
    pytest.skip(f"No software Vulkan: {reason} docs/gpu.md says how to get one.")


@pytest.fixture
def ask(software, tmp_path):
    """Opens a file and runs it once, in a process of its own."""

    def ask(name, path, inputs, *extras, **variables):
        np.savez(tmp_path / "inputs.npz", *inputs)
        environment = software | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
        finished = subprocess.run(
            [sys.executable, "-c", SCRIPT, name, path, tmp_path / "inputs.npz", *extras],
            capture_output=True,
            text=True,
            env={key: value for key, value in environment.items() if value is not None},
            timeout=300,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr[-2000:]
        return json.loads(finished.stdout.splitlines()[-1])

    return ask


@pytest.fixture(scope="module")
def small(exported, tmp_path_factory):
    """The small classifier as a file in a format."""
    folder = tmp_path_factory.mktemp("small")

    def save(format):
        path = folder / f"{format}.tflite"
        exported(format).save(path)
        return path

    return save


def convert(function, *shapes, folder, name):
    """A file of a function of float32 tensors."""
    from tfcompress._keras import tf

    signature = [tf.TensorSpec(shape, tf.float32, name=f"x{i}") for i, shape in enumerate(shapes)]
    module = tf.Module()
    module.call = tf.function(function, input_signature=signature)
    concrete = module.call.get_concrete_function()
    path = folder / f"{name}.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert())
    return path


def images(count):
    return np.random.default_rng(0).random((count, 12, 12, 1), np.float32)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("precision=int8", "Unknown value of litert_gpu's precision: 'int8'. Known: float16"),
        ("software=1", "software must be true or false"),
        ("speed=true", "Those of litert_gpu: partial, precision, software"),
    ],
)
def test_unknown_option_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        runtimes.choose(f"litert_gpu({given})")


def test_without_a_driver_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("VK_DRIVER_FILES", str(tmp_path / "none.json"))
    reason = runtimes.choose("litert_gpu").unavailable()
    assert "VK_DRIVER_FILES" in reason or "libvulkan1" in reason


def test_software_is_no_gpu_unless_asked_for(software, monkeypatch):
    for key, value in software.items():
        monkeypatch.setenv(key, value)
    assert "no hardware GPU here, only 'llvmpipe" in runtimes.choose("litert_gpu").unavailable()
    assert runtimes.choose(SOFTWARE).unavailable() is None


def test_software_is_refused_when_the_file_is_opened(ask, small):
    reply = ask("litert_gpu", small("float32"), [images(1)])
    assert reply["kind"] == "ProofError"
    assert "CPU / Software" in reply["error"]
    assert "software=true" in reply["error"]


def test_software_that_was_asked_for_is_labelled(ask, small):
    reply = ask(SOFTWARE, small("float32"), [images(2)])
    placement = reply["placement"]
    assert (placement["device"], placement["software"]) == ("gpu", True)
    assert placement["device_name"].startswith("llvmpipe")
    assert placement["left_over"] == []
    assert placement["details"]["backend"] == "Vulkan"
    assert placement["details"]["adapter_type"] == "CPU / Software"
    assert float(placement["details"]["difference"]) < 1e-4
    assert reply["heavy"] == []


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("format", ["float32", "float16", "int8", "dynamic"])
def test_outputs_are_those_of_the_processor(ask, small, format, batch):
    path = small(format)
    session = litert.GraphSession(path, batch=batch)
    inputs = [session.inputs[0].quantize(images(batch))]
    reply = ask(SOFTWARE, path, inputs)
    (expected,) = session.run(inputs)
    assert reply["dtypes"] == [str(expected.dtype)]
    # int8: one step. dynamic: the processor rounds its activations to 8 bits, the GPU does not.
    tolerance = {"int8": 1, "dynamic": 0.05 * np.ptp(expected)}.get(format, 1e-4)
    np.testing.assert_allclose(reply["outputs"][0], expected, atol=tolerance)


def test_half_precision_is_the_default_and_close(ask, small):
    path = small("float32")
    (expected,) = litert.GraphSession(path, batch=3).run([images(3)])
    reply = ask("litert_gpu(software=true)", path, [images(3)])
    assert reply["placement"]["details"]["precision"] == "float16"
    np.testing.assert_allclose(reply["outputs"][0], expected, atol=0.05 * np.ptp(expected))
    assert np.abs(np.array(reply["outputs"][0]) - expected).max() > 1e-5


def test_fallback_is_refused_for_the_gpu_alone(ask, small):
    reply = ask(SOFTWARE, small("float32"), [images(1)], **{EXCLUDE: "0,1"})
    assert reply["kind"] == "ValueError"
    assert "does not run whole on the GPU" in reply["error"]
    assert "2 operators: CONV_2D, DEPTHWISE_CONV_2D" in reply["error"]


@pytest.mark.parametrize("batch", [1, 2])
def test_fallback_is_reported_where_it_may_be(ask, small, batch):
    path = small("float32")
    reply = ask(PARTIAL, path, [images(batch)], **{EXCLUDE: "0,1"})
    assert reply["placement"]["left_over"] == ["CONV_2D", "DEPTHWISE_CONV_2D"]
    (expected,) = litert.GraphSession(path, batch=batch).run([images(batch)])
    np.testing.assert_allclose(reply["outputs"][0], expected, atol=1e-4)


def test_operators_that_the_gpu_lacks_are_reported(ask, tmp_path_factory):
    def call(x):
        from tfcompress._keras import tf

        found = tf.cast(tf.argmax(tf.nn.relu(x * x - 0.3), 1), tf.float32)
        return tf.nn.softmax(found + tf.reduce_max(x, 1))

    path = convert(call, (1, 6, 4), folder=tmp_path_factory.mktemp("lack"), name="lack")
    given = np.random.default_rng(1).random((1, 6, 4), np.float32)
    refused = ask(SOFTWARE, path, [given])
    assert "does not run whole on the GPU" in refused["error"]
    assert "ARG_MAX: Tensor type(INT64) is not supported" in refused["error"]
    left = ask(PARTIAL, path, [given])["placement"]["left_over"]
    assert {"ARG_MAX", "CAST"} <= set(left)
    total = len(litert.GraphSession(path, kernels="builtin").plan())
    assert len(left) < total


def test_file_of_which_nothing_runs_on_the_gpu_is_refused(ask, tmp_path_factory):
    def call(x):
        from tfcompress._keras import tf

        return tf.cast(tf.argmax(x, 1), tf.float32)

    path = convert(call, (1, 6, 4), folder=tmp_path_factory.mktemp("none"), name="none")
    reply = ask(PARTIAL, path, [np.ones((1, 6, 4), np.float32)])
    assert "has no operator that would run on the GPU: ARG_MAX, CAST" in reply["error"]


def test_graph_that_the_gpu_builds_wrong_is_refused(ask, quadrants, tmp_path_factory):
    from tfcompress._keras import keras
    from tfcompress.export import convert as export

    keras.utils.set_random_seed(0)
    inputs = keras.Input([12, 12, 1])
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(16, 1, strides=2)(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    path = tmp_path_factory.mktemp("wrong") / "strided.tflite"
    options = {"calibration": quadrants.inputs[:16], "metadata": quadrants.metadata}
    export(model, "int8", **options).save(path)
    reply = ask(SOFTWARE, path, [np.zeros((1, 12, 12, 1), np.int8)])
    assert reply["kind"] == "ProofError"
    assert "outputs are wrong" in reply["error"]
    export(model, "float32", **options).save(path)
    assert ask(SOFTWARE, path, [images(1)])["placement"]["device"] == "gpu"


def test_wrong_outputs_are_refused_whatever_made_them(ask, small):
    spoil = "run = session._run; session._run = lambda x: tuple(1.1 * y for y in run(x))"
    reply = ask(SOFTWARE, small("float32"), [images(1)], spoil)
    assert reply["kind"] == "ProofError"
    assert "gives other outputs than on the processor" in reply["error"]


def test_outputs_without_a_finite_value_prove_nothing(ask, tmp_path):
    builder = FileBuilder()
    given, result = builder.tensor([1, 8]), builder.tensor([1, 8])
    nothing = builder.constant(np.full([8], np.nan, np.float32))
    builder.operator("ADD", [given, nothing], [result])
    (tmp_path / "nan.tflite").write_bytes(builder.build([given], [result]))
    reply = ask(SOFTWARE, tmp_path / "nan.tflite", [np.ones([1, 8], np.float32)])
    assert reply["kind"] == "ProofError"
    assert "no finite value" in reply["error"]


def test_the_proof_is_made_with_the_inputs_that_were_run(ask, small):
    """Outputs are spoiled for these inputs alone: random ones would not show it."""
    spoil = "run = session._run; session._run = lambda x: tuple(y + x[0].max() for y in run(x))"
    ours = np.full((1, 12, 12, 1), 7, np.float32)
    assert "gives other outputs" in ask(SOFTWARE, small("float32"), [ours], spoil)["error"]
    blank = ask(SOFTWARE, small("float32"), [np.zeros_like(ours)], spoil)
    assert blank["placement"]["device"] == "gpu"


def test_array_that_only_fits_in_bytes_is_refused(ask, small):
    # The buffer itself takes both: the first line shows it.
    extra = """
session._in[0].write(inputs[0].view(np.int32))
reply["refused"] = []
for wrong in (inputs[0].view(np.int32), inputs[0].reshape(2, 144, 1, 1), inputs[0][:1]):
    try:
        session.run([wrong])
        reply["refused"].append(None)
    except ValueError as error:
        reply["refused"].append(str(error))
"""
    dtype, shape, few = ask(SOFTWARE, small("float32"), [images(2)], extra)["refused"]
    assert dtype == ("The input must be float32 [2, 12, 12, 1]. Received: int32 [2, 12, 12, 1].")
    assert "Received: float32 [2, 144, 1, 1]" in shape
    assert "Received: float32 [1, 12, 12, 1]" in few


def test_inputs_and_outputs_stand_in_the_order_of_the_file(ask, tmp_path_factory):
    def call(first, second, third):
        return {"b": first - 2 * second, "a": 3 * third + second}

    shapes = [(1, 4), (1, 4), (1, 4)]
    path = convert(call, *shapes, folder=tmp_path_factory.mktemp("three"), name="three")
    generator = np.random.default_rng(2)
    given = [generator.random((1, 4), np.float32) for _ in shapes]
    expected = litert.GraphSession(path).run(given)
    outputs = ask(SOFTWARE, path, given)["outputs"]
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_time_of_a_run_has_the_gpus_work_in_it(ask, tmp_path_factory):
    def call(x):
        from tfcompress._keras import tf

        for _ in range(8):
            x = tf.nn.conv2d(x, tf.fill([3, 3, 16, 16], 0.006), 1, "SAME")
        return tf.reduce_mean(x, [1, 2])

    path = convert(call, (1, 64, 64, 16), folder=tmp_path_factory.mktemp("work"), name="work")
    # The call alone, as LiteRT makes it by default, and with the outputs read, on the same file.
    extra = """
import statistics, time
from ai_edge_litert import compiled_model as api
model = api.CompiledModel.from_file(path, options=api.Options(
    hardware_accelerators=api.HardwareAccelerator.GPU,
    gpu_options=api.GpuOptions(enforce_f32=True)))
ins, outs = model.create_input_buffers(0), model.create_output_buffers(0)
ins[0].write(inputs[0])
alone, read, ours = [], [], []
for _ in range(11):
    before = time.perf_counter()
    model.run_by_index(0, ins, outs)
    alone.append(time.perf_counter() - before)
    outs[0].read(16, np.float32)
    read.append(time.perf_counter() - before)
    before = time.perf_counter()
    session.run(inputs)
    ours.append(time.perf_counter() - before)
reply["times"] = [statistics.median(times) for times in (alone, read, ours)]
"""
    given = np.random.default_rng(3).random((1, 64, 64, 16), np.float32)
    alone, read, ours = ask(SOFTWARE, path, [given], extra)["times"]
    assert alone < read / 3
    assert ours > 3 * alone
    assert ours > read / 3


def test_two_files_in_one_process_are_proved_each(ask, small):
    extra = f"""
other = engine.open({str(small("float16"))!r}, threads=1, batch=1)
reply["other"] = other.placement.device_name
"""
    reply = ask(SOFTWARE, small("float32"), [images(1)], extra)
    assert reply["other"] == reply["placement"]["device_name"]


def test_driver_that_is_gone_is_named_when_the_file_is_opened(ask, small, tmp_path):
    gone = {"VK_DRIVER_FILES": str(tmp_path / "none.json")}
    reply = ask(SOFTWARE, small("float32"), [images(1)], **gone)
    assert reply["kind"] == "ProofError"
    assert "LiteRT found no GPU" in reply["error"]
    assert "No adapters found" in reply["error"]


def test_graph_of_changing_sizes_is_refused_with_litert_s_reason(ask, tmp_path_factory):
    def call(x):
        from tfcompress._keras import tf

        return tf.boolean_mask(x, x[:, 0] > 0.5) * 2.0

    path = convert(call, (1, 4), folder=tmp_path_factory.mktemp("sizes"), name="sizes")
    reply = ask(PARTIAL, path, [np.random.default_rng(4).random((1, 4), np.float32)])
    assert reply["kind"] == "ValueError"
    assert "cannot be compiled for the GPU" in reply["error"]
    assert "a graph that has dynamic-sized tensors" in reply["error"]
