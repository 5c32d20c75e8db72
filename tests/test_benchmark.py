import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from tfcompress.benchmark import (
    LatencyConfig,
    LatencySamples,
    MeasurementError,
    measure_latency,
    run_in_process,
    summarize,
    time_calls,
)


class Clock:
    """Moves on by the next duration at each call that is timed."""

    def __init__(self, durations):
        self.durations = list(durations)
        self.now = 0
        self.calls = 0

    def __call__(self):
        return self.now

    def work(self):
        self.now += self.durations[min(self.calls, len(self.durations) - 1)]
        self.calls += 1


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"warmup_runs": 0, "min_runs": 3, "min_seconds": 0}, [100, 5, 7]),
        ({"warmup_runs": 1, "min_runs": 2, "min_seconds": 0}, [5, 7]),
        ({"warmup_runs": 1, "min_runs": 1, "min_seconds": 25e-9}, [5, 7, 9, 9]),
        ({"warmup_runs": 1, "min_runs": 1, "min_seconds": 1, "max_runs": 3}, [5, 7, 9]),
    ],
    ids=["runs", "warm-up", "seconds", "at most"],
)
def test_time_calls_until_there_is_enough(limits, expected):
    clock = Clock([100, 5, 7, 9])
    samples = time_calls(clock.work, **{"max_runs": 50, **limits}, clock=clock)
    assert samples == expected


def reply(samples, peak=1000):
    return {
        "samples_ns": samples,
        "first_call_ns": 9_000_000,
        "load_ns": 4_000_000,
        "peak_memory_bytes": peak,
    }


@pytest.fixture
def files(exported, tmp_path):
    paths = {name: tmp_path / f"{name}.tflite" for name in ("base", "small")}
    for path in paths.values():
        exported("int8").save(path)
    return paths


def test_models_take_turns_in_every_round(files):
    asked, seen = [], []

    def runner(request, timeout_seconds):
        asked.append((request["path"], request["threads"], timeout_seconds))
        return reply([len(asked)], peak=100 * len(asked))

    samples = measure_latency(
        files,
        LatencyConfig(threads=2, rounds=2, timeout_seconds=7),
        runner=runner,
        progress=lambda *what: seen.append(what),
    )
    base, small = map(str, files.values())
    assert [path for path, *_ in asked] == [base, small, base, small]
    assert {what[1:] for what in asked} == {(2, 7)}
    assert seen == [(1, 4, "base"), (2, 4, "small"), (3, 4, "base"), (4, 4, "small")]
    assert samples["base"].rounds_ns == ((1,), (3,))
    assert samples["small"].peak_memory_bytes == 400


def test_memory_is_that_of_single_images(files):
    samples = measure_latency(files, LatencyConfig(batch=8, rounds=1), runner=lambda *_: reply([1]))
    assert samples["base"].peak_memory_bytes is None


def test_summary_by_hand():
    samples = LatencySamples(
        runtime="litert_cpu",
        threads=2,
        batch=1,
        rounds_ns=((1_000_000, 2_000_000, 3_000_000), (4_000_000, 11_000_000)),
        first_call_ns=(9_000_000, 8_000_000),
        load_ns=(5_000_000, 6_000_000),
    )
    latency = summarize(samples)
    assert latency.p50 == pytest.approx(3)
    assert latency.p90 == pytest.approx(4 + 0.6 * 7)  # rank 3.6 of 0..4
    assert latency.round_p50 == pytest.approx((2, 7.5))
    assert (latency.samples, latency.first_call, latency.load) == (5, 9, 5)
    assert (latency.runtime, latency.threads, latency.batch) == ("litert_cpu", 2, 1)


def test_real_measurement_in_its_own_process(files):
    config = LatencyConfig(rounds=2, min_runs=20, min_seconds=0, max_runs=20, warmup_runs=1)
    samples = measure_latency(files, config)
    for found in samples.values():
        assert [len(part) for part in found.rounds_ns] == [20, 20]
        assert min(min(part) for part in found.rounds_ns) > 0
        assert min(found.load_ns) > 0
        assert summarize(found).p50 <= summarize(found).p90


def test_memory_of_the_parent_is_not_counted(files):
    ballast = np.ones(60_000_000)  # 480 MB, far beyond what the measuring process needs
    config = LatencyConfig(rounds=1, min_runs=1, min_seconds=0)
    peak = measure_latency({"base": files["base"]}, config)["base"].peak_memory_bytes
    assert ballast.nbytes > 2 * peak
    assert peak > 10 * 2**20


def test_hanging_process_is_killed_and_reported(files):
    endless = LatencyConfig(rounds=1, max_runs=10**9, min_seconds=3, timeout_seconds=3.5)
    request = dataclasses.asdict(endless) | {"path": str(files["base"]), "min_seconds": 10**6}
    with pytest.raises(MeasurementError, match=r"did not end within 2 s and was killed"):
        run_in_process(request, 2, module="tfcompress.benchmark.answering")


def test_failing_process_is_reported_with_model_and_reason(tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(
        MeasurementError, match=r"'mine' \(.*bad\.tflite\)(.|\n)*cannot be loaded"
    ) as caught:
        measure_latency({"mine": path}, LatencyConfig(rounds=1))
    assert "File " not in str(caught.value)
    assert "its process ended" not in str(caught.value)


def test_environment_passes_through(monkeypatch):
    seen = {}

    def run(command, **options):
        seen.update(options["env"])
        return subprocess.CompletedProcess(command, 0, stdout='noise\n{"load_ns": 1}\n', stderr="")

    monkeypatch.setenv("SOME_SETTING", "kept")
    monkeypatch.setattr(subprocess, "run", run)
    assert run_in_process({}, 1, module="none") == {"load_ns": 1}
    assert seen["SOME_SETTING"] == "kept"


def test_measuring_process_imports_no_tensorflow(files):
    code = (
        "import sys, dataclasses; from tfcompress import benchmark\n"
        "from tfcompress.benchmark import answering\n"
        "config = benchmark.LatencyConfig(min_runs=1, min_seconds=0)\n"
        f"request = dataclasses.asdict(config) | {{'path': {str(files['base'])!r}}}\n"
        "assert answering.answer(request)['samples_ns']\n"
        "assert not {'tensorflow', 'matplotlib', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_files_are_checked_before_any_process(files, tmp_path):
    def runner(*_):
        raise AssertionError("no process expected")

    with pytest.raises(FileNotFoundError, match=r"none\.tflite"):
        measure_latency({**files, "none": tmp_path / "none.tflite"}, runner=runner)
    other = tmp_path / "a.keras"
    other.write_bytes(b"")
    with pytest.raises(ValueError, match=r"litert_cpu takes files that end in \.tflite.*a\.keras"):
        measure_latency({"a": other}, runner=runner)
    with pytest.raises(ValueError, match="no model to measure"):
        measure_latency({}, runner=runner)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"runtime": "tpu"}, "Unknown runtime: 'tpu'. Known: keras, litert_cpu"),
        ({"threads": 0}, "threads must be an integer of at least 1 and at most 256. Received: 0"),
        ({"threads": 100_000}, "threads must be .* at most 256. Received: 100000"),
        ({"batch": 0}, "batch must be"),
        ({"batch": 10_000_000}, "batch must be .* at most 65,536. Received: 10000000"),
        ({"rounds": 0}, "rounds must be"),
        ({"min_runs": 10, "max_runs": 9}, "max_runs >= min_runs"),
        ({"min_seconds": -1}, "min_seconds >= 0"),
        ({"min_seconds": 5, "timeout_seconds": 5}, "timeout_seconds must be greater"),
    ],
)
def test_config_refuses(fields, said):
    with pytest.raises(ValueError, match=said):
        LatencyConfig(**fields)
