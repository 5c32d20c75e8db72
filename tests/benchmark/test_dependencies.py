"""What a measurement imports: a machine with NumPy and LiteRT alone can make all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from tfcompress import benchmark_record, memory_plan, operator_profile, roofline
from tfcompress.benchmark import peaks, profiling, trial
from tfcompress.report import profile_tables
path = sys.argv[1]
asked = {"path": path, "threads": 1, "batch": 1, "inputs": None}
if profiling.unavailable() is None:
    record = profiling.answer(asked | {"kernels": "xnnpack", "warmup_runs": 1, "runs": 2})
    profile = operator_profile.from_dict(record)
    profiled = benchmark_record.Profiled(path, "litert_cpu", 1, 1, profile)
    list(profile_tables.tables(profiled, slowest=3))
trial.answer(asked | {"runtime": "litert_cpu", "outputs": path + ".npz"})
ceilings = roofline.peaks_from_dict(peaks.answer(asked | {"runtime": "litert_cpu"})["peaks"])
data = open(path, "rb").read()
roofline.attained(data, source=path, peaks=ceilings, latency_ms=1000.0)
memory_plan.plan(data, source=path)
files = {name.split(".")[0]: getattr(sys.modules[name], "__file__", None) for name in sys.modules}
print(json.dumps(sorted(name for name, file in files.items() if file and "-packages" in file)))
"""


def test_beyond_latency_numpy_and_litert_are_enough(exported, tmp_path):
    exported("int8").save(tmp_path / "model.tflite")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "model.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    packages = {name for name in imported if name.isidentifier() and not name.startswith("_")}
    assert packages <= {"ai_edge_litert", "flatbuffers", "ml_dtypes", "numpy", "tfcompress"}
