import dataclasses
import functools
import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfcompress import machine_state, records, resource_use, runtimes
from tfcompress.benchmark import (
    Case,
    LatencyConfig,
    LatencySamples,
    MeasurementError,
    answering,
    measure_cases,
    measure_latency,
    opening,
    ratio,
    run_in_process,
    summarize,
    time_calls,
    timing,
    warm_up,
)
from tfcompress.benchmark.measuring import turn_order
from tfcompress.file_building import FileBuilder
from tfcompress.machine_state import GpuState
from tfcompress.resource_use import Counter


def reply(samples, peak=1000, **changes):
    return {
        "samples_ns": samples,
        "first_call_ns": 9_000_000,
        "load_ns": 4_000_000,
        "peak_memory_bytes": peak,
        "prepare_ns": 2_000_000,
        "warmup_runs": 20,
        "stable": True,
        "joules_per_call": None,
        "placement": {"device": "cpu", "device_name": None, "software": False, "left_over": []},
        "machine": {"begin": {"clock_mhz": [1000, 2000]}, "end": {"usable_cores": 2}},
        "finite_outputs": True,
        **changes,
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
    assert [path for path, *_ in asked] == [base, small, small, base]
    assert {what[1:] for what in asked} == {(2, 7)}
    assert seen == [(1, 4, "base"), (2, 4, "small"), (3, 4, "small"), (4, 4, "base")]
    assert samples["base"].rounds_ns == ((1,), (4,))
    assert samples["base"].places == (0, 1)
    assert samples["small"].peak_memory_bytes == 300
    assert samples["small"].machine[1].begin.clock_mhz == (1000, 2000)
    assert samples["small"].session == samples["base"].session != ""


def test_no_model_always_has_the_same_place_or_stands_before_another():
    names = "abcd"
    orders = [turn_order(names, number) for number in range(8)]
    for name in names:
        assert sorted(order.index(name) for order in orders) == [0, 0, 1, 1, 2, 2, 3, 3]
    for one, other in itertools.combinations(names, 2):
        assert sum(order.index(one) < order.index(other) for order in orders) == 4


def test_settings_take_turns_as_models_do(files):
    asked = []

    def runner(request, timeout_seconds):
        asked.append((request["threads"], request["batch"]))
        return reply([5_000_000 // request["threads"]])

    config = LatencyConfig(rounds=2)
    cases = {
        name: Case(files["base"], dataclasses.replace(config, threads=threads))
        for name, threads in (("one", 1), ("two", 2))
    }
    samples = measure_cases(cases, runner=runner)
    assert asked == [(1, 1), (2, 1), (2, 1), (1, 1)]
    assert ratio(samples["two"], samples["one"]).value == 0.5
    cases["two"] = Case(files["base"], LatencyConfig(rounds=3))
    with pytest.raises(ValueError, match=r"the same count of rounds\. Received: 2, 3"):
        measure_cases(cases, runner=runner)


def test_rounds_on_two_devices_are_no_latency(files):
    places = iter(["gpu", "cpu"])

    def runner(*_):
        return reply([1], placement={"device": next(places), "device_name": None})

    with pytest.raises(MeasurementError, match="'gpu' in round 1 and 'cpu' in round 2"):
        measure_latency({"base": files["base"]}, LatencyConfig(rounds=2), runner=runner)


def test_memory_is_that_of_single_images(files):
    samples = measure_latency(files, LatencyConfig(batch=8, rounds=1), runner=lambda *_: reply([1]))
    assert samples["base"].peak_memory_bytes is None


def test_real_measurement_in_its_own_process(files):
    config = LatencyConfig(rounds=2, min_runs=20, min_seconds=0, max_runs=20, warmup_runs=1)
    samples = measure_latency(files, config)
    for found in samples.values():
        assert [len(part) for part in found.rounds_ns] == [20, 20]
        assert min(min(part) for part in found.rounds_ns) > 0
        assert min(found.load_ns) > 0
        assert summarize(found).p50 <= summarize(found).p90
        assert min(found.prepare_ns) > 0
        assert min(found.warmup_runs) >= 10
        assert all(isinstance(stable, bool) for stable in found.stable)
        assert found.placement["device"] == "cpu"
        assert found.finite_outputs
        for stretch in found.machine:
            assert stretch.begin.wall_seconds <= stretch.end.wall_seconds
        # What a run folder keeps and finds again.
        record = json.loads(json.dumps(found.to_dict()))
        assert records.from_record(LatencySamples, record) == found


def test_samples_of_earlier_versions_are_read():
    record = {"runtime": "litert_cpu", "threads": 1, "batch": 1, "rounds_ns": [[5, 6], [7]]}
    record |= {"first_call_ns": [9, 9], "load_ns": [3, 3], "peak_memory_bytes": 100}
    found = records.from_record(LatencySamples, record)
    assert found.rounds_ns == ((5, 6), (7,))
    assert (found.stable, found.machine, found.placement) == ((), (), None)


def test_the_first_call_is_not_among_the_samples(files, monkeypatch):
    """A cold cache is told as such, and not mixed into the figure."""
    clock = SlowStart()
    monkeypatch.setattr(runtimes, "choose", lambda text: clock.engine)
    monkeypatch.setattr(opening.time, "perf_counter_ns", clock)
    monkeypatch.setattr(answering, "warm_up", functools.partial(warm_up, clock=clock))
    monkeypatch.setattr(answering, "time_calls", functools.partial(time_calls, clock=clock))
    config = LatencyConfig(min_runs=20, min_seconds=0, max_warmup_seconds=1e9)
    found = answering.answer(dataclasses.asdict(config) | {"path": "any"})
    assert found["first_call_ns"] == 31_000_000_000
    assert (found["prepare_ns"], found["load_ns"]) == (2_000_000_000, 500_000_000)
    assert found["stable"]
    assert found["samples_ns"] == pytest.approx([20_000_000] * 20, rel=0.05)
    assert found["warmup_runs"] >= 2 * timing.WINDOW_RUNS


class SlowStart:
    """A clock, and a runtime whose first call fills a cache and whose next ones are slow still."""

    placement = runtimes.Placement("cpu")
    inputs = ()

    def __init__(self):
        self.now, self.calls = 0, 0
        self.engine = SimpleNamespace(prepare=self.prepare, open=self.open, device="cpu")

    def __call__(self):
        return self.now

    def prepare(self, path):
        self.now += 2_000_000_000

    def open(self, path, **settings):
        self.now += 500_000_000
        return self

    def run(self, inputs):
        self.calls += 1
        warm = 20_000_000 + int(4e8 * 0.5**self.calls)
        self.now += 31_000_000_000 if self.calls == 1 else warm
        return ()


def test_the_proof_of_a_device_comes_after_all_that_is_measured(monkeypatch):
    """What it takes is in no time and not in the memory; its GPU is asked before any work on it."""
    done = []

    class Proved(SlowStart):
        def open(self, path, **settings):
            done.append("open")
            return self

        def run(self, inputs):
            done.append("run")
            return ()

        @property
        def placement(self):
            done.append("proof")
            return runtimes.Placement("gpu", device_name="Some GPU")

    def read_gpus():
        done.append("gpus")
        return (GpuState("Some GPU", utilization=1.0 / len(done)),)

    proved = Proved()
    proved.engine.device = "gpu"
    monkeypatch.setattr(runtimes, "choose", lambda text: proved.engine)
    monkeypatch.setattr(machine_state, "read_gpus", read_gpus)
    monkeypatch.setattr(resource_use, "peak_memory_bytes", lambda: done.append("peak") or 7)
    counters = [Counter(f"gpu-{n}", lambda: 5.0, gpu=f"{name} GPU") for n, name in NAMES]
    monkeypatch.setattr(resource_use, "find_counters", lambda: tuple(counters))
    config = LatencyConfig(min_runs=1, min_seconds=0)
    found = answering.answer(dataclasses.asdict(config) | {"path": "any"})
    assert done[:3] == ["gpus", "open", "run"]
    assert [what for what in done if what != "run"] == ["gpus", "open", "gpus", "peak", "proof"]
    assert done[-1] == "proof"
    assert found["machine"]["begin"]["gpus"][0]["utilization"] == 1.0
    assert found["peak_memory_bytes"] == 7
    # The other GPU's energy is none of ours.
    assert found["joules_per_call"] == {"gpu-1": 0.0}


NAMES = ((0, "Another"), (1, "Some"))


@pytest.mark.parametrize(("value", "finite"), [(1.0, True), (np.nan, False), (np.inf, False)])
def test_outputs_that_are_no_numbers_are_recorded(value, finite):
    class Constant(SlowStart):
        def run(self, inputs):
            return (np.array([value], np.float32), np.array([1], np.int8))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtimes, "choose", lambda text: Constant().engine)
        config = LatencyConfig(min_runs=1, min_seconds=0)
        found = answering.answer(dataclasses.asdict(config) | {"path": "any"})
    assert found["finite_outputs"] is finite


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros([2, 12, 12, 1], np.float64), r"holds float64. The model reads float32"),
        (np.zeros([2, 12, 12], np.float32), r"\[2, 12, 12\].*reads \[2, 12, 12, 1\]"),
        (np.zeros([1, 12, 12, 1], np.float32), "expected at least 2 images"),
        (np.full([2, 12, 12, 1], np.nan, np.float32), "holds 288 values that are NaN"),
    ],
)
def test_a_file_of_inputs_is_checked_before_anything_is_timed(exported, tmp_path, array, said):
    exported("float32").save(tmp_path / "a.tflite")
    np.save(tmp_path / "x.npy", array)
    config = LatencyConfig(batch=2, rounds=1, inputs=str(tmp_path / "x.npy"))
    with pytest.raises(MeasurementError, match=said):
        measure_latency({"a": tmp_path / "a.tflite"}, config)


def test_a_file_of_inputs_may_hold_more_images_than_a_call_takes(exported, tmp_path):
    exported("float32").save(tmp_path / "a.tflite")
    np.save(tmp_path / "x.npy", np.zeros([3, 12, 12, 1], np.float32))
    config = LatencyConfig(
        batch=2, rounds=1, min_runs=1, min_seconds=0, inputs=str(tmp_path / "x.npy")
    )
    assert measure_latency({"a": tmp_path / "a.tflite"}, config)["a"].finite_outputs


def test_memory_of_the_parent_is_not_counted(files):
    ballast = np.ones(60_000_000)  # 480 MB, far beyond what the measuring process needs
    config = LatencyConfig(rounds=1, min_runs=1, min_seconds=0)
    peak = measure_latency({"base": files["base"]}, config)["base"].peak_memory_bytes
    assert ballast.nbytes > 2 * peak
    assert peak > 10 * 2**20


def test_hanging_process_is_killed_and_reported_with_what_it_did(files):
    endless = LatencyConfig(rounds=1, max_runs=10**9, min_seconds=3, timeout_seconds=3.5)
    request = dataclasses.asdict(endless) | {"path": str(files["base"]), "min_seconds": 10**6}
    with pytest.raises(
        MeasurementError, match=r"did not end within 4 s and was killed while measuring"
    ):
        run_in_process(request, 4, module="tfcompress.benchmark.answering")


def test_a_case_that_fails_has_no_further_turns_and_the_others_go_on(files):
    asked = []

    def runner(request, _):
        name = Path(request["path"]).stem
        asked.append(name)
        if name == "small" and len(asked) > 2:
            raise MeasurementError("it died")
        return reply([7])

    cases = {name: Case(path, LatencyConfig(rounds=3)) for name, path in files.items()}
    failures = {}
    found = measure_cases(cases, runner=runner, failures=failures)
    assert list(found) == ["base"]
    assert found["base"].rounds_ns == ((7,), (7,), (7,))
    assert asked == ["base", "small", "small", "base", "base"]
    assert list(failures) == ["small"]
    assert failures["small"].endswith("failed: it died")
    with pytest.raises(MeasurementError, match=r"'small'.*it died"):
        measure_cases(cases, runner=runner)


def test_failing_process_is_reported_with_model_and_reason(tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(
        MeasurementError, match=r"'mine' \(.*bad\.tflite\)(.|\n)*cannot be loaded"
    ) as caught:
        measure_latency({"mine": path}, LatencyConfig(rounds=1))
    assert "File " not in str(caught.value)
    assert "its process ended" not in str(caught.value)


def test_measuring_process_imports_no_tensorflow(files):
    code = (
        "import sys, dataclasses; from tfcompress import benchmark\n"
        "from tfcompress.benchmark import answering\n"
        "config = benchmark.LatencyConfig(min_runs=1, min_seconds=0)\n"
        f"request = dataclasses.asdict(config) | {{'path': {str(files['base'])!r}}}\n"
        "assert answering.answer(request)['samples_ns']\n"
        "heavy = {'tensorflow', 'tf_keras', 'absl', 'rich', 'scipy', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
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


def test_a_round_takes_the_seconds_that_were_asked_for_however_fast_the_calls(tmp_path):
    builder = FileBuilder()
    given, result = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("LOGISTIC", [given], [result])
    (tmp_path / "tiny.tflite").write_bytes(builder.build([given], [result]))
    config = LatencyConfig(rounds=1, min_seconds=0.3, max_warmup_seconds=0.2)
    (times,) = measure_latency({"a": tmp_path / "tiny.tflite"}, config)["a"].rounds_ns
    assert len(times) > 10_000
    assert 0.3e9 <= sum(times) < 0.4e9


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"runtime": "tpu"}, "Unknown runtime: 'tpu'. Known: keras, litert_cpu"),
        ({"threads": 0}, "threads must be an integer of at least 1 and at most 256. Received: 0"),
        ({"threads": 100_000}, "threads must be .* at most 256. Received: 100000"),
        ({"batch": 0}, "batch must be"),
        ({"batch": 10_000_000}, "batch must be .* at most 65,536. Received: 10000000"),
        ({"rounds": 0}, "rounds must be"),
        ({"min_runs": 2_000_000}, "min_runs must be at most 1,000,000, .* Received: 2000000"),
        ({"timeout_seconds": np.inf}, "timeout_seconds must be a finite number .* Received: inf"),
        ({"timeout_seconds": np.nan}, "timeout_seconds must be a finite number .* Received: nan"),
        ({"min_seconds": np.nan}, "min_seconds must be a finite number"),
        ({"max_warmup_seconds": np.inf}, "max_warmup_seconds must be a finite number"),
        ({"min_seconds": -1}, "min_seconds >= 0"),
        ({"min_seconds": 5, "timeout_seconds": 5}, "timeout_seconds must be greater"),
        ({"max_warmup_runs": 9}, "max_warmup_runs >= warmup_runs"),
        ({"max_warmup_seconds": -1}, "max_warmup_seconds >= 0"),
        ({"inputs": "x.png"}, "must be a .npy file"),
    ],
)
def test_config_refuses(fields, said):
    with pytest.raises(ValueError, match=said):
        LatencyConfig(**fields)
