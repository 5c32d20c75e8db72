"""Ceilings measured on this machine's processor, by the runtime that runs the models."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tfcompress import file_cost, roofline, runtimes
from tfcompress.benchmark import peaks
from tfcompress.benchmark.peaks import Sizes, footprints, peaks_in_process, product_chain
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


def test_the_ceilings_of_this_processor_hold_for_a_file(tmp_path):
    found = peaks_in_process("litert_cpu", threads=1)
    assert (found.device, found.threads, found.runtime) == ("cpu", 1, "litert_cpu")
    # From a slow single board to far beyond any core.
    assert all(1e8 < speed < 1e13 for speed in found.macs_per_second.values())
    assert all(1e8 < speed < 1e13 for _, speed in found.bytes_per_second)
    data = product_chain("float32", side=32, channels=256, links=4)
    engine = runtimes.choose("litert_cpu")
    with peaks.opened(engine, 1, data) as session:
        inputs = [np.ones(details.shape, details.dtype) for details in session.inputs]
        times = []
        for _ in range(10):
            before = time.perf_counter()
            session.run(inputs)
            times.append(time.perf_counter() - before)
    latency_ms = 1000 * float(np.median(times))
    share = roofline.attained(data, source="it", peaks=found, latency_ms=latency_ms).share
    assert 0 < share <= roofline.MOST


class Clock:
    """Moves on by a second at each reading."""

    now = 0

    def __call__(self):
        self.now += 1_000_000_000
        return self.now


def test_a_copy_counts_what_it_reads_and_what_it_writes():
    # 64 MiB of source and target in each timed stretch, which the clock says takes a second.
    assert peaks.copy_speed(1 << 20, 1, clock=Clock()) == 64 << 20
    assert peaks.copy_speed(64 << 20, 2, clock=Clock()) == 64 << 20


def test_small_copies_are_timed_with_one_thread_only():
    assert footprints(1)[0] == 256 << 10
    assert footprints(4)[0] == 16 << 20
    assert footprints(200) == (256 << 20,)


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
