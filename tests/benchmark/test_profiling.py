"""Profiles of real files by LiteRT's own profiler, each in a process of its own."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfcompress import flatbuffer, litert_profiling
from tfcompress.benchmark.process import MeasurementError
from tfcompress.benchmark.profiling import (
    ProfileConfig,
    file_outputs,
    operator_times,
    profile_in_process,
)
from tfcompress.file_building import FileBuilder
from tfcompress.litert_profiling import DELEGATE_PROFILED_OPERATOR, OPERATOR, Event

needs_profiler = pytest.mark.skipif(
    litert_profiling.unavailable() is not None, reason=str(litert_profiling.unavailable())
)


@pytest.fixture
def path(exported, tmp_path):
    exported("float32").save(tmp_path / "model.tflite")
    return tmp_path / "model.tflite"


@needs_profiler
def test_builtin_kernels_are_the_operators_of_the_file(path):
    config = ProfileConfig(kernels="builtin", batch=16, runs=30)
    profile = profile_in_process(path, config)
    assert [(one.name, one.output) for one in profile.operators] == file_outputs(path)
    assert {one.engine for one in profile.operators} == {"builtin"}
    assert [len(one.samples_us) for one in profile.operators] == [30] * len(profile.operators)
    assert len(profile.plain_us) == len(profile.recorded_us) == 30
    assert profile.machine.end.wall_seconds > profile.machine.begin.wall_seconds
    assert profile.stable is not None


@needs_profiler
def test_operators_take_no_more_than_the_recorded_call(path):
    profile = profile_in_process(path, ProfileConfig(kernels="builtin", batch=64, runs=20))
    for call, whole in enumerate(profile.recorded_us):
        assert 0 < sum(one.samples_us[call] for one in profile.operators) <= whole


@needs_profiler
def test_xnnpack_reports_its_own_operators(path):
    profile = profile_in_process(path, ProfileConfig(batch=64, runs=20))
    assert {one.engine for one in profile.operators} == {"xnnpack"}
    assert {one.output for one in profile.operators} == {None}
    names = [one.name for one in profile.operators]
    assert any("Convolution" in name for name in names)
    assert any("DWConv" in name for name in names)
    assert any("Fully Connected" in name for name in names)


@needs_profiler
def test_the_heavier_operator_is_the_slower_one(tmp_path):
    builder = FileBuilder()
    given, wide, made = (
        builder.tensor([64, 256]),
        builder.tensor([64, 256]),
        builder.tensor([64, 8]),
    )
    builder.operator(
        "FULLY_CONNECTED", [given, builder.constant(np.ones([256, 256], np.float32)), -1], [wide]
    )
    builder.operator(
        "FULLY_CONNECTED", [wide, builder.constant(np.ones([8, 256], np.float32)), -1], [made]
    )
    path = tmp_path / "two.tflite"
    path.write_bytes(builder.build([given], [made]))
    for kernels in litert_profiling.KERNELS:
        profile = profile_in_process(path, ProfileConfig(kernels=kernels, batch=64, runs=30))
        # 32 times the multiply-accumulates.
        first, second = (
            time
            for one, time in zip(profile.operators, profile.operators_us, strict=True)
            if "ully" in one.name.lower().replace("_", " ")
        )
        assert first > 3 * second


@needs_profiler
def test_files_that_litert_cannot_run_are_refused(path, tmp_path):
    truncated = tmp_path / "truncated.tflite"
    truncated.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(MeasurementError, match="is a damaged TFLite file of 3000 bytes"):
        profile_in_process(truncated)
    truncated.write_bytes(b"no model")
    with pytest.raises(MeasurementError, match="is not a TFLite file"):
        profile_in_process(truncated)
    with pytest.raises(FileNotFoundError, match=r"No TFLite file at .*none\.tflite"):
        profile_in_process(tmp_path / "none.tflite")


@needs_profiler
def test_an_operator_that_litert_does_not_know_is_refused(tmp_path):
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("STABLEHLO_CONVOLUTION", [given], [made])
    path = tmp_path / "unknown.tflite"
    path.write_bytes(builder.build([given], [made]))
    with pytest.raises(MeasurementError, match=r"cannot be profiled with batch 1 and xnnpack"):
        profile_in_process(path)


@needs_profiler
def test_a_file_of_one_batch_says_which(tmp_path):
    builder = FileBuilder()
    given, made = builder.tensor([8, 4]), builder.tensor([8, 2, 2])
    size = builder.constant(np.array([8, 2, 2], np.int32))
    builder.operator("RESHAPE", [given, size], [made])
    path = tmp_path / "fixed.tflite"
    path.write_bytes(builder.build([given], [made]))
    assert profile_in_process(path, ProfileConfig(kernels="builtin", batch=8)).batch == 8
    with pytest.raises(MeasurementError, match=r"The file states a batch of 8: pass that\."):
        profile_in_process(path, ProfileConfig(kernels="builtin", batch=1))


@needs_profiler
@pytest.mark.parametrize("graphs", [(1, 0), (0, 1)])
def test_a_file_whose_signatures_run_several_graphs_is_refused(tmp_path, graphs):
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("ABS", [given], [made])
    model = flatbuffer.parse(builder.build([given], [made]), source="it")
    model.subgraphs = [model.subgraphs[0], model.subgraphs[0]]
    model.signatureDefs = [schema.SignatureDefT() for _ in graphs]
    for number, (entry, graph) in enumerate(zip(model.signatureDefs, graphs, strict=True)):
        entry.signatureKey, entry.subgraphIndex = f"s{number}", graph
        (entry.inputs, entry.outputs) = ([schema.TensorMapT()], [schema.TensorMapT()])
        for name, place in ((entry.inputs[0], given), (entry.outputs[0], made)):
            name.name, name.tensorIndex = f"t{place}", place
    path = tmp_path / "two.tflite"
    path.write_bytes(flatbuffer.pack(model))
    with pytest.raises(MeasurementError, match="cannot be told from its signatures: 's0'"):
        profile_in_process(path)


def test_a_hanging_process_is_ended_and_reported(path):
    if litert_profiling.unavailable() is not None:
        pytest.skip(str(litert_profiling.unavailable()))
    endless = ProfileConfig(runs=10**9, timeout_seconds=3)
    with pytest.raises(MeasurementError, match="did not end within 3 s and was killed"):
        profile_in_process(path, endless)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernels": "reference"}, "kind of kernels with a profile"),
        ({"threads": 0}, "threads must be an integer of at least 1"),
        ({"threads": 10_000}, "at most 256"),
        ({"runs": 0}, "runs must be an integer of at least 1"),
        ({"warmup_runs": 0}, "warmup_runs must be an integer of at least 1"),
        ({"timeout_seconds": 0}, "timeout_seconds must be greater than 0"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ProfileConfig(**settings)


def test_another_version_of_litert_is_refused(monkeypatch, path):
    monkeypatch.setattr(litert_profiling, "TESTED", ("0.0.1",))
    with pytest.raises(MeasurementError, match=r"known for ai-edge-litert 0\.0\.1\. Received: "):
        profile_in_process(path)


def test_an_event_of_another_layout_is_refused():
    good = litert_profiling._Event(tag=b"ADD", type=OPERATOR, elapsed_us=7, index=3, source=1)
    assert litert_profiling._checked(good) == Event("ADD", OPERATOR, 7, 3)
    for changed in ({"type": 3}, {"source": 77}, {"tag": None}, {"tag": b"\xff\xfe"}):
        fields = {"tag": b"ADD", "type": OPERATOR, "elapsed_us": 7, "index": 3, "source": 1}
        with pytest.raises(RuntimeError, match="gave an event that is none"):
            litert_profiling._checked(litert_profiling._Event(**(fields | changed)))


def test_events_come_together_operator_by_operator():
    def call(*times):
        other = [Event("Invoke", 1, 99, 0)]
        return [*other, Event("ADD", OPERATOR, times[0], 1), Event("Add (ND)", 8, times[1], 0)]

    assert DELEGATE_PROFILED_OPERATOR == 8
    outputs = [("CONV_2D", "x"), ("ADD", "y")]
    own, delegated = operator_times([call(3, 4), call(5, 6)], outputs, kernels="xnnpack")
    assert (own.name, own.output, own.engine, own.samples_us) == ("ADD", "y", "builtin", (3, 5))
    assert (delegated.output, delegated.engine, delegated.samples_us) == (None, "xnnpack", (4, 6))


def test_calls_that_ran_other_operators_are_refused():
    calls = [[Event("ADD", OPERATOR, 3, 1)], [Event("MUL", OPERATOR, 3, 1)]]
    with pytest.raises(RuntimeError, match="recorded 2 different orders of operators in 2 calls"):
        operator_times(calls, [], kernels="builtin")
    with pytest.raises(RuntimeError, match="of 0 to 0 operators"):
        operator_times([[], []], [], kernels="builtin")
