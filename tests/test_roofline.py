"""Shares of a roofline, worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfcompress.file_building import FileBuilder
from tfcompress.roofline import Peaks, attained, peaks_from_dict

KIBIBYTE = 2**10


def peaks(**changes):
    fields = {
        "runtime": "litert_cpu",
        "threads": 1,
        "device": "cpu",
        "device_name": None,
        "macs_per_second": {"float32": 1e9, "int8": 4e9},
        "bytes_per_second": ((8 * KIBIBYTE, 2e9), (64 * KIBIBYTE, 1e9)),
    }
    return Peaks(**(fields | changes))


def dense(inputs, outputs, *, narrow=False):
    """A file of one matrix product, and an addition that only moves bytes."""
    builder = FileBuilder()
    form = {"type": "INT8", "scale": 0.5} if narrow else {}
    given, made = builder.tensor([1, inputs], **form), builder.tensor([1, outputs], **form)
    kernel = np.zeros([outputs, inputs], np.int8 if narrow else np.float32)
    weights = builder.constant(kernel, scale=0.5 if narrow else None)
    builder.operator("FULLY_CONNECTED", [given, weights, -1], [made])
    return builder.build([given], [made])


def test_the_nearer_ceiling_bounds():
    # 32*32 MACs at 1e9/s: 1.024 us. 4096 + 256 bytes at 2e9/s: 2.176 us.
    found = attained(dense(32, 32), source="it", peaks=peaks(), latency_ms=0.004352)
    assert (found.macs, found.moved_bytes) == (1024, 4352)
    assert found.footprint_bytes == 4096 + 256
    assert found.arithmetic_ms == pytest.approx(1.024e-3)
    assert found.memory_ms == pytest.approx(2.176e-3)
    assert (found.bound, found.share) == ("memory", pytest.approx(0.5))
    assert found.intensity == pytest.approx(1024 / 4352)


def test_a_batch_reads_its_weights_once():
    found = attained(dense(32, 32), source="it", peaks=peaks(), latency_ms=0.2048, batch=100)
    assert (found.batch, found.macs, found.moved_bytes) == (100, 102_400, 4096 + 25_600)
    assert (found.bound, found.share) == ("arithmetic", pytest.approx(0.5))


def test_int8_has_a_ceiling_of_its_own():
    found = attained(dense(64, 64, narrow=True), source="it", peaks=peaks(), latency_ms=0.01)
    assert found.arithmetic_ms == pytest.approx(1e3 * 4096 / 4e9)
    assert found.moved_bytes == 4096 + 128


def test_the_bandwidth_is_that_of_a_copy_as_large():
    found = peaks()
    assert found.bandwidth(1) == found.bandwidth(8 * KIBIBYTE) == 2e9
    assert found.bandwidth(8 * KIBIBYTE + 1) == found.bandwidth(KIBIBYTE**2) == 1e9


def test_a_slow_copy_of_less_memory_is_noise():
    found = peaks(bytes_per_second=((8, 1e9), (16, 3e9), (32, 2e9)))
    assert [found.bandwidth(size) for size in (1, 9, 17, 33)] == [3e9, 3e9, 2e9, 2e9]


def test_a_share_is_at_most_one():
    # 2.176 us at the ceiling: measured are 2.1.
    found = attained(dense(32, 32), source="it", peaks=peaks(), latency_ms=0.0021)
    assert (found.share, found.bound) == (1.0, "memory")
    assert found.to_dict()["share"] == 1.0
    with pytest.raises(ValueError, match=r"needs 0\.002176 ms by memory"):
        attained(dense(32, 32), source="it", peaks=peaks(), latency_ms=0.0019)


def test_a_latency_below_the_shortest_time_is_no_measurement():
    with pytest.raises(ValueError, match=r"mine took 0\.001 ms, but litert_cpu with 1 threads"):
        attained(dense(32, 32), source="mine", peaks=peaks(), latency_ms=0.001)
    for latency in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="latency_ms must be a number above 0"):
            attained(dense(32, 32), source="mine", peaks=peaks(), latency_ms=latency)


def test_a_file_whose_cost_is_not_known_has_no_share():
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("STABLEHLO_DOT_GENERAL", [given, given], [made])
    data = builder.build([given], [made])
    with pytest.raises(ValueError, match="mine cannot be told: what STABLEHLO_DOT_GENERAL"):
        attained(data, source="mine", peaks=peaks(), latency_ms=1.0)


def test_records_come_back():
    assert peaks_from_dict(json.loads(json.dumps(peaks().to_dict()))) == peaks()
    found = attained(dense(32, 32), source="it", peaks=peaks(), latency_ms=1.0)
    assert json.loads(json.dumps(found.to_dict()))["bound"] == "memory"


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes_per_second": ()},
        {"bytes_per_second": ((8, 1e9), (8, 2e9))},
        {"bytes_per_second": ((8, 0.0),)},
        {"macs_per_second": {"float32": float("inf"), "int8": 1.0}},
    ],
    ids=str,
)
def test_peaks_that_are_none_are_refused(changes):
    with pytest.raises(ValueError, match="Peaks takes figures above 0"):
        peaks(**changes)
