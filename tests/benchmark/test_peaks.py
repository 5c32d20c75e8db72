"""Ceilings measured on this machine's processor, by the runtime that runs the models."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest

from tfcompress import file_cost, runtimes
from tfcompress.benchmark import peaks
from tfcompress.benchmark.peaks import Sizes, peaks_in_process, product_chain
from tfcompress.benchmark.process import MeasurementError
from tfcompress.machine_state import MachineState, Stretch
from tfcompress.records import from_record
from tfcompress.roofline import Peaks, peaks_from_dict
from tfcompress.runtimes import Placement


def test_a_chain_costs_what_its_links_cost():
    for kind in file_cost.ARITHMETICS:
        found = file_cost.count(product_chain(kind, side=4, channels=8, links=3), source="it")
        assert found.macs == found.macs_by_arithmetic()[kind] == 3 * 16 * 64
        # The links share their weights: one kernel, one set of biases.
        assert found.parameters == 64 + 8


def test_a_chain_computes_the_product_of_matrices():
    engine = runtimes.choose("litert_cpu")
    data = product_chain("float32", side=2, channels=4, links=2)
    inputs = np.random.default_rng(1).normal(size=(1, 2, 2, 4)).astype(np.float32)
    with peaks.opened(engine, 1, data) as session:
        (outputs,) = session.run([inputs])
    spread = 1 / np.sqrt(4)
    kernel = np.random.default_rng(0).normal(0, spread, (4, 1, 1, 4)).reshape(4, 4)
    assert outputs == pytest.approx(inputs @ kernel.T @ kernel.T, abs=1e-5)


@pytest.mark.parametrize("kind", file_cost.ARITHMETICS)
def test_values_neither_vanish_nor_saturate_along_a_chain(kind):
    engine = runtimes.choose("litert_cpu")
    with peaks.opened(engine, 1, product_chain(kind, side=4, channels=128, links=5)) as session:
        (details,) = session.inputs
        values = np.random.default_rng(0).normal(size=details.shape) * (16 if kind == "int8" else 1)
        (outputs,) = session.run([values.astype(details.dtype)])
    spread = float(np.std(outputs)) / (16 if kind == "int8" else 1)
    assert 0.2 < spread < 5


def test_a_copying_chain_changes_nothing():
    engine = runtimes.choose("litert_cpu")
    with peaks.opened(engine, 1, peaks.copy_chain(side=4, channels=8, links=3)) as session:
        inputs = np.random.default_rng(0).random((1, 4, 4, 8), np.float32)
        assert np.array_equal(session.run([inputs])[0], inputs)


def test_the_ceilings_of_this_processor_are_about_what_a_file_attains():
    reply = json.loads(json.dumps(peaks.answer({"runtime": "litert_cpu", "threads": 1})))
    found = peaks_from_dict(reply["peaks"])
    assert (found.device, found.threads, found.runtime) == ("cpu", 1, "litert_cpu")
    # From a slow single board to far beyond any core.
    assert all(1e8 < speed < 1e13 for speed in found.macs_per_second.values())
    assert [size for size, _ in found.bytes_per_second] == list(peaks.FOOTPRINTS)
    assert all(1e8 < speed < 1e13 for _, speed in found.bytes_per_second)
    assert from_record(Stretch, reply["machine"]).end.usable_cores >= 1
    data = product_chain("float32", side=32, channels=256, links=4)
    engine = runtimes.choose("litert_cpu")
    with peaks.opened(engine, 1, data) as session:
        inputs = [np.ones(details.shape, details.dtype) for details in session.inputs]
        times = []
        for _ in range(10):
            before = time.perf_counter()
            session.run(inputs)
            times.append(time.perf_counter() - before)
    share = 4 * 32**2 * 256**2 / found.macs_per_second["float32"] / float(np.median(times))
    # Others may be at work on the machine of a test, in one of the two measurements or in both.
    assert 0.1 < share < 3


def test_ceilings_are_agreed_on_or_refused():
    try:
        found = peaks_in_process("litert_cpu", threads=2)
    except MeasurementError as error:
        assert "ceilings found none" in str(error)  # noqa: PT017
    else:
        assert found.threads == 2


QUIET = MachineState(usable_cores=4, busy_seconds=0.0, own_seconds=0.0, wall_seconds=0.0)


def replying(*products, busy=1.0, copies=((1024, 4e9), (2048, 2e9)), names=None):
    """A runner whose processes find these float32 products, in turn."""
    names = iter(names or [None] * len(products))
    found = iter(products)
    end = dataclasses.replace(QUIET, busy_seconds=busy, own_seconds=1.0, wall_seconds=1.0)
    machine = dataclasses.asdict(Stretch(QUIET, end))

    def run(request, timeout_seconds):
        assert request == {"runtime": "litert_cpu", "threads": 1}
        speeds = {"float32": next(found), "int8": 9e9}
        record = Peaks("litert_cpu", 1, "cpu", next(names), speeds, copies).to_dict()
        return json.loads(json.dumps({"peaks": record, "machine": machine}))

    return run


def test_a_ceiling_is_the_best_that_was_seen():
    found = peaks_in_process("litert_cpu", runner=replying(41e9, 43e9, 30e9))
    assert found.macs_per_second == {"float32": 43e9, "int8": 9e9}
    assert found.bytes_per_second == ((1024, 4e9), (2048, 2e9))


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        (replying(23e9, 30e9, 43e9), "the float32 product came to 23, 30, 43 billion a second"),
        # Another process kept 3.5 of the 4 cores busy throughout.
        (replying(43e9, 43e9, 43e9, busy=4.5), "in 3 of 3 rounds other processes kept 3.5 of 4"),
        (replying(43e9, 43e9, 43e9, names=["a", "b", "a"]), "they ran on cpu a and cpu b"),
    ],
    ids=["differ", "busy", "devices"],
)
def test_what_is_no_ceiling_is_refused(runner, said):
    with pytest.raises(MeasurementError, match=f"found none: .*{said}"):
        peaks_in_process("litert_cpu", runner=runner)


def test_a_slow_copy_of_less_is_no_disagreement():
    slow = replying(43e9, 43e9, 43e9, copies=((1024, 1e9), (2048, 2e9)))
    assert peaks_in_process("litert_cpu", runner=slow).bandwidth(1024) == 2e9


class Clock:
    """Moves on by a second at each reading."""

    now = 0

    def __call__(self):
        self.now += 1_000_000_000
        return self.now


def test_a_copy_counts_what_it_reads_and_what_it_writes():
    # In each timed stretch, which the clock says takes a second, 128 MiB by each thread.
    for footprint, threads in ((1 << 18, 1), (64 << 20, 2), (1 << 18, 3)):
        copied = peaks.copy_speed(footprint, threads, clock=Clock()) / 2 / threads
        assert copied == pytest.approx(128 << 20, rel=1e-4)
    # A part of 2 MiB is copied more often, so that Python's lock is let go of.
    assert peaks.copy_speed(4 << 20, 1, clock=Clock()) == 2 * 512 * (2 << 20)


def test_a_small_copy_is_one_call_of_a_thread(monkeypatch):
    calls = []
    monkeypatch.setattr(np, "copyto", lambda target, source: calls.append((target, source)))
    peaks.copy_speed(1 << 18, 2, clock=Clock())
    assert len(calls) == 2 * 8
    for target, source in calls:
        # Again and again the same 64 KiB, which begin at a page.
        assert target.itemsize == source.itemsize == 64 << 10
        assert target.strides == source.strides == (0,)
        assert target.size == source.size > 500
        assert target.ctypes.data % 4096 == source.ctypes.data % 4096 == 0


def test_a_repeated_copy_copies():
    source, target = peaks._repeated(6, 512), peaks._repeated(6, 512)
    source[0] = np.void(bytes(range(6)))
    np.copyto(target, source)
    assert target[0].tobytes() == bytes(range(6))


class Chain:
    """Sessions whose time does not depend on the count of links, as of a device that skips them."""

    placement = Placement("cpu")
    inputs = ()

    def run(self, inputs):
        return ()


def test_a_device_that_skips_the_links_has_no_ceiling(monkeypatch):
    monkeypatch.setattr(peaks, "_timed", lambda session, inputs: 1000)
    engine = runtimes.choose("litert_cpu")
    with pytest.raises(ValueError, match="does not run the links one by one"):
        peaks.measured_macs(engine, 1, "float32", sizes=Sizes(side=1, channels=8))


def test_a_device_that_leaves_operators_over_has_no_ceiling(monkeypatch):
    class Partial(Chain):
        placement = Placement("gpu", left_over=("CONV_2D",))

    engine = runtimes.choose("litert_cpu")
    module = type("Module", (), {})()
    module.SUFFIXES, module.unavailable = (".tflite",), lambda options: None
    module.prepare = lambda path, options: None
    module.open = lambda path, *, threads, batch, options: Partial()
    monkeypatch.setattr(runtimes, "choose", lambda text: runtimes.Engine(module, engine.options))
    with pytest.raises(ValueError, match="leaves CONV_2D to the processor"):
        peaks.answer({"runtime": "litert_gpu", "threads": 1})


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="takes files that end in"):
        peaks_in_process("keras")
    with pytest.raises(ValueError, match="threads must be an integer of at least 1"):
        peaks_in_process("litert_cpu", threads=0)
    with pytest.raises(ValueError, match="processes must be an integer of at least 2"):
        peaks_in_process("litert_cpu", processes=1)
