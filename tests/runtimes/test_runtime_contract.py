"""Every runtime that the registry finds, held to the contract; each in a process of its own."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from tfcompress import registry, runtimes

# A runtime may set the threads of the whole process, so the checks run in one that is theirs.
SCRIPT = """
import json, sys
import numpy as np
name, path, cut, inputs = sys.argv[1:]
from tfcompress import runtimes
runtime = runtimes.choose(name)
runtime.prepare(path)
images = np.load(inputs)
refusals = {}
def refused(what, call):
    try:
        call()
        refusals[what] = None
    except (ValueError, FileNotFoundError) as error:
        refusals[what] = f"{type(error).__name__}: {error}"
def opened(**changes):
    return runtime.open(**({"path": path, "threads": 1, "batch": 3} | changes))
refused("no threads", lambda: opened(threads=0))
refused("too many threads", lambda: opened(threads=10_000))
refused("no batch", lambda: opened(batch=0))
refused("missing", lambda: opened(path=path + "x"))
refused("foreign", lambda: opened(path=__file__))
refused("cut", lambda: (runtime.prepare(cut), opened(path=cut)))
session = opened()
(details,) = session.inputs
refused("shape", lambda: session.run([images[:1]]))
# The same count of bytes.
refused("dtype", lambda: session.run([images.view(np.int32)]))
refused("layout", lambda: session.run([images.transpose(0, 3, 1, 2)]))
refused("count", lambda: session.run([images, images]))
outputs = [session.run([images])[0], session.run([images])[0]]
blank = session.run([np.full_like(images, np.nan)])[0]
print(json.dumps({
    "shape": details.shape, "dtype": str(details.dtype), "refusals": refusals,
    "outputs": [output.tolist() for output in outputs], "blank": blank.shape,
    "asked": runtime.device, "device": session.placement.device,
    "left_over": session.placement.left_over,
    "tensorflow": "tensorflow" in sys.modules,
}))
"""

OPTIONS = (
    "litert_cpu(kernels=builtin)",
    "litert_cpu(kernels=reference)",
    "keras(mode=eager)",
    "keras(mode=xla)",
    "keras(device=gpu)",
    "onnx(provider=cuda)",
    "litert_gpu(software=true, precision=float32)",
)


def cases():
    """Each runtime as it is, on every file that can be made here, and with each other option."""
    for name in registry.names("runtimes"):
        for suffix in runtimes.choose(name).suffixes:
            if suffix in (".tflite", ".keras"):
                yield name, suffix
    for name in OPTIONS:
        yield name, next(s for s in runtimes.choose(name).suffixes if s != ".onnx")


@pytest.fixture(scope="module", params=cases(), ids=" ".join)
def found(request, exported, quadrants, tmp_path_factory):
    """What a runtime does with the small classifier, as a float32 file or a Keras model."""
    name, suffix = request.param
    runtime = runtimes.choose(name)
    if runtime.unavailable():
        pytest.skip(runtime.unavailable())
    folder = tmp_path_factory.mktemp("runtime")
    path, cut = (folder / f"{stem}{suffix}" for stem in ("model", "cut"))
    if suffix == ".tflite":
        exported("float32").save(path)
    else:
        with pytest.MonkeyPatch.context() as patch:
            # tf_keras warns of the older format, which is meant.
            patch.setattr("warnings.warn", lambda *_, **__: None)
            quadrants.model.save(path)
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    np.save(folder / "x.npy", quadrants.inputs[:3])
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, folder / "script.py", name, path, cut, folder / "x.npy"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return {"name": name} | json.loads(finished.stdout.splitlines()[-1])


def test_input_is_described_with_the_batch_first(found):
    assert found["shape"] == [3, 12, 12, 1]
    assert found["dtype"] == "float32"


def test_outputs_are_those_of_the_model(found, quadrants):
    expected = quadrants.model(quadrants.inputs[:3], training=False).numpy()
    for outputs in found["outputs"]:
        np.testing.assert_allclose(outputs, expected, atol=1e-4)


REFUSALS = {
    "no threads": "ValueError: threads must be an integer of at least 1",
    "too many threads": "ValueError: threads must be .* at most 256. Received: 10000",
    "no batch": "ValueError: batch must be an integer of at least 1",
    "missing": "FileNotFoundError: ",
    "foreign": r"ValueError: .*script\.py",
    "cut": r"ValueError: .*cut\.",
    "shape": r"float32 \[3, 12, 12, 1\]. Received: float32 \[1, 12, 12, 1\]",
    "dtype": r"float32 \[3, 12, 12, 1\]. Received: int32 \[3, 12, 12, 1\]",
    "layout": r"float32 \[3, 12, 12, 1\]. Received: float32 \[3, 1, 12, 12\]",
    "count": r"float32 \[3, 12, 12, 1\]. Received: float32 .*, float32 ",
}


@pytest.mark.parametrize("use", REFUSALS)
def test_wrong_use_is_refused(found, use):
    assert found["refusals"][use], "it was taken"
    assert re.search(REFUSALS[use], found["refusals"][use])


def test_numbers_that_are_none_come_to_an_end(found):
    assert found["blank"] == [3, 4]


def test_placement_is_the_device_that_was_asked_for(found):
    on_gpu = any(word in found["name"] for word in ("gpu", "cuda"))
    assert found["asked"] == found["device"] == ("gpu" if on_gpu else "cpu")
    assert found["left_over"] == []


def test_tensorflow_is_imported_by_the_keras_runtime_only(found):
    assert found["tensorflow"] == found["name"].startswith("keras")
