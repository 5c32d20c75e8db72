"""What real files add to a process, held against what their graphs need at least."""

from __future__ import annotations

import numpy as np
import pytest

from tfcompress import memory_plan
from tfcompress.benchmark import memory
from tfcompress.benchmark.memory import MemoryGrowth, memory_in_process
from tfcompress.benchmark.process import MeasurementError
from tfcompress.file_building import FileBuilder

MEBIBYTE = 2**20
BATCH = 2048


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """4 MiB of weights, and four activations of 8 MiB each for a batch of 2,048."""
    builder = FileBuilder()
    tensors = [builder.tensor([1, 1024]) for _ in range(4)]
    kernel = builder.constant(np.full([1024, 1024], 1e-3, np.float32))
    builder.operator("FULLY_CONNECTED", [tensors[0], kernel, -1], [tensors[1]])
    builder.operator("ABS", [tensors[1]], [tensors[2]])
    builder.operator("ABS", [tensors[2]], [tensors[3]])
    path = tmp_path_factory.mktemp("memory") / "a model.tflite"
    path.write_bytes(builder.build(tensors[:1], tensors[-1:]))
    return path


def test_a_process_grows_by_what_the_graph_needs_at_least(path):
    needed = memory_plan.plan(path.read_bytes(), source="it", batch=BATCH)
    assert needed.lower_bound_bytes == 16 * MEBIBYTE
    assert needed.arena_bytes == 24 * MEBIBYTE
    grown = memory_in_process(path, runtime="litert_cpu(kernels=builtin)", batch=BATCH)
    assert needed.lower_bound_bytes <= grown.anonymous_bytes < 64 * MEBIBYTE
    assert grown.anonymous_bytes == grown.load_bytes + grown.first_call_bytes
    assert (grown.runtime, grown.batch) == ("litert_cpu(kernels=builtin)", BATCH)


def test_weights_are_read_where_the_file_lies_unless_they_are_packed(path):
    small = memory_in_process(path, runtime="litert_cpu(kernels=builtin)")
    packed = memory_in_process(path)
    # LiteRT's own kernels read the 4 MiB in place, XNNPACK copies them.
    assert small.mapped_bytes >= 4 * MEBIBYTE
    assert small.anonymous_bytes < 2 * MEBIBYTE
    assert packed.anonymous_bytes > 4 * MEBIBYTE


def test_failures_are_told(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="No model file at"):
        memory_in_process(tmp_path / "none.tflite")
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"no model")
    with pytest.raises(MeasurementError, match="cannot be loaded by LiteRT"):
        memory_in_process(bad)
    with pytest.raises(ValueError, match="threads must be an integer of at least 1"):
        memory_in_process(path, threads=0)
    with pytest.raises(ValueError, match="kernels"):
        memory_in_process(path, runtime="litert_cpu(kernels=none)")


def test_memory_is_told_by_kind(tmp_path):
    (tmp_path / "status").write_text("VmRSS:\t  900 kB\nRssAnon:\t   300 kB\nRssFile: 600 kB\n")
    (tmp_path / "smaps").write_text(
        "7f00-7f10 r--p 00000000 fe:00 12 /models/a b.tflite\nSize: 64 kB\nRss: 40 kB\nPss: 9 kB\n"
        "7f10-7f20 r--p 00000000 fe:00 13 /models/a b.tflite2\nRss: 7 kB\n"
        "7f20-7f30 rw-p 00000000 00:00 0 \nRss: 11 kB\n"
        "7f30-7f40 r--p 00010000 fe:00 12 /models/a b.tflite\nRss: 4 kB\n"
    )
    assert memory.anonymous_bytes(tmp_path) == 300 * 1024
    assert memory.mapped_bytes("/models/a b.tflite", tmp_path) == 44 * 1024


def test_a_system_that_does_not_tell_gives_no_figure(tmp_path):
    with pytest.raises(OSError, match="known on Linux only"):
        memory.anonymous_bytes(tmp_path)
    (tmp_path / "status").write_text("VmRSS: 900 kB\n")
    with pytest.raises(OSError, match="has no RssAnon"):
        memory.anonymous_bytes(tmp_path)


def test_the_record_holds_the_sum():
    grown = MemoryGrowth("litert_cpu", 1, 1, load_bytes=5, first_call_bytes=7, mapped_bytes=9)
    assert grown.to_dict()["anonymous_bytes"] == 12
