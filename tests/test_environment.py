from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tfcompress import environment


def test_collect_is_json_and_tells_the_versions():
    record = environment.collect()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["python"].endswith(platform.python_version())
    assert record["packages"]["numpy"].count(".") >= 1
    assert record["processor"]["logical_cores"] == os.cpu_count()
    assert 1 <= record["processor"]["usable_cores"] <= os.cpu_count()
    assert record["memory_bytes"] > 2**26


def test_instructions_are_those_that_every_core_has():
    lines = ["processor : 0", "Features : fp asimddp sve i8mm", "Features : fp asimddp i8mm"]
    assert environment.parse_instructions(lines) == ["asimddp", "i8mm"]
    assert environment.parse_instructions(["Hardware : Some Board"]) is None


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux alone tells them")
def test_collect_names_the_instructions_of_this_processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    expected = environment.parse_instructions(lines)
    assert environment.collect()["processor"]["instructions"] == expected


def test_collect_tells_not_who_and_where():
    text = json.dumps(environment.collect())
    assert str(Path(__file__).parents[1]) not in text
    assert str(Path.home()) + "/" not in text
    assert platform.node() not in text or len(platform.node()) < 4
    assert getpass.getuser() not in text or len(getpass.getuser()) < 5


def test_collect_imports_no_tensorflow():
    code = (
        "import sys; from tfcompress import environment; environment.collect(); "
        "sys.exit(any(m.split('.')[0] in ('tensorflow', 'tf_keras') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_package_is_none(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package-here"))
    assert environment.collect()["packages"]["no-such-package-here"] is None


def test_threads_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    threads = environment.collect()["threads"]
    assert threads["OMP_NUM_THREADS"] == "3"
    assert threads["TF_NUM_INTRAOP_THREADS"] is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["processor\t: 0", "model name\t: Fast  CPU"], "Fast CPU"),
        (["processor : 0", "Model : Some Board 5"], "Some Board 5"),
        (["processor : 0"], None),
        ([], None),
    ],
)
def test_parse_cpuinfo(lines, expected):
    assert environment.parse_cpuinfo(lines) == expected


def test_parse_nvidia_smi():
    text = "NVIDIA A, big, 550.54, 1024\nNVIDIA B, 550.54, [N/A]\n\n"
    first, second = environment.parse_nvidia_smi(text)
    assert first == {"name": "NVIDIA A, big", "driver": "550.54", "memory_bytes": 2**30}
    assert second["memory_bytes"] is None


def test_no_gpu_tool_means_no_gpu_and_a_failing_one_is_unknown(monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    assert environment.collect()["gpus"] == []
    assert environment.collect()["commit"] is None
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/nowhere/{name}")
    monkeypatch.setattr(environment, "_output", lambda command: None)
    assert environment.collect()["gpus"] is None


def test_commit_is_none_where_the_package_is_not_tracked(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert environment._commit(tmp_path) == (None, None)
