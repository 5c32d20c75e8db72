"""Every runtime that the registry finds, held to the contract; each in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tfcompress import registry, runtimes

# A runtime may set the threads of the whole process, so the checks run in one that is theirs.
SCRIPT = """
import json, sys
import numpy as np
name, path, inputs = sys.argv[1:]
from tfcompress import runtimes
runtime = runtimes.choose(name)
runtime.prepare(path)
def refusal(**changes):
    try:
        runtime.open(**({"path": path, "threads": 1, "batch": 3} | changes))
    except (ValueError, FileNotFoundError) as error:
        return f"{type(error).__name__}: {error}"
refusals = [refusal(threads=0), refusal(batch=0), refusal(path=path + "x"), refusal(path=__file__)]
session = runtime.open(path, threads=1, batch=3)
(details,) = session.inputs
images = np.load(inputs)
outputs = [session.run([images])[0], session.run([images])[0]]
try:
    session.run([images[:1]])
    refusals.append(None)
except ValueError as error:
    refusals.append(f"ValueError: {error}")
print(json.dumps({
    "shape": details.shape, "dtype": str(details.dtype), "refusals": refusals,
    "outputs": [output.tolist() for output in outputs],
    "tensorflow": "tensorflow" in sys.modules,
}))
"""


@pytest.fixture(scope="module", params=registry.names("runtimes"))
def found(request, exported, quadrants, tmp_path_factory):
    """What a runtime does with the small classifier, as a float32 file or a Keras model."""
    runtime = runtimes.choose(request.param)
    if runtime.unavailable():
        pytest.skip(runtime.unavailable())
    folder = tmp_path_factory.mktemp("runtime")
    path = folder / f"model{runtime.suffixes[0]}"
    if path.suffix == ".tflite":
        exported("float32").save(path)
    else:
        quadrants.model.save(path)
    np.save(folder / "x.npy", quadrants.inputs[:3])
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, folder / "script.py", request.param, path, folder / "x.npy"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return {"name": request.param} | json.loads(finished.stdout.splitlines()[-1])


def test_input_is_described_with_the_batch_first(found):
    assert found["shape"] == [3, 12, 12, 1]
    assert found["dtype"] == "float32"


def test_outputs_are_those_of_the_model(found, quadrants):
    expected = quadrants.model(quadrants.inputs[:3], training=False).numpy()
    for outputs in found["outputs"]:
        np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_wrong_use_is_refused(found):
    threads, batch, missing, foreign, single = found["refusals"]
    assert "threads must be an integer of at least 1" in threads
    assert "batch must be an integer of at least 1" in batch
    assert missing.startswith("FileNotFoundError")
    assert "script.py" in foreign
    assert "[3, 12, 12, 1]" in single
    assert "[1, 12, 12, 1]" in single


def test_tensorflow_is_imported_by_the_keras_runtime_only(found):
    assert found["tensorflow"] == (found["name"] == "keras")
