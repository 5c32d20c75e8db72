"""One call in a process of its own: what it takes of the memory, and what it gives."""

from __future__ import annotations

import numpy as np
import pytest

from tfcompress import memory_plan
from tfcompress.benchmark.process import MeasurementError
from tfcompress.benchmark.trial import try_in_process
from tfcompress.file_building import FileBuilder
from tfcompress.litert import Session

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
    found = try_in_process(path, runtime="litert_cpu(kernels=builtin)", batch=BATCH)
    assert needed.lower_bound_bytes <= found.memory.anonymous < 64 * MEBIBYTE


def test_weights_are_read_where_the_file_lies_unless_they_are_packed(path):
    small = try_in_process(path, runtime="litert_cpu(kernels=builtin)").memory
    packed = try_in_process(path).memory
    # LiteRT's own kernels read the 4 MiB in place, XNNPACK copies them.
    assert small.mapped >= 4 * MEBIBYTE
    assert small.anonymous < 2 * MEBIBYTE
    assert packed.anonymous > 4 * MEBIBYTE


def test_outputs_are_kept_with_what_they_stand_for(exported, quadrants, tmp_path):
    path = tmp_path / "a.tflite"
    exported("int8").save(path)
    images = tmp_path / "images.npy"
    session = Session(path, batch=3)
    stored = session.input_details.quantize(quadrants.inputs[:3])
    np.save(images, stored)
    found = try_in_process(path, batch=3, inputs=str(images))
    np.testing.assert_array_equal(found.outputs[0], session.run(stored))
    assert found.details[0].scale == session.output_details.scale
    assert found.placement.device == "cpu"


def test_failures_are_told(path, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"no model")
    with pytest.raises(MeasurementError, match="cannot be loaded by LiteRT"):
        try_in_process(bad)
    with pytest.raises(MeasurementError, match="threads must be an integer of at least 1"):
        try_in_process(path, threads=0)
    with pytest.raises(MeasurementError, match="kernels"):
        try_in_process(path, runtime="litert_cpu(kernels=none)")
