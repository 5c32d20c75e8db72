"""Plans of small graphs, worked out by hand, and held against LiteRT's own addresses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tfcompress import memory_plan
from tfcompress.file_building import FileBuilder
from tfcompress.memory_plan import Lifetime, alive_bytes, greedy_arena_bytes, plan


def chain(*floats):
    """A file in which each operator makes a tensor of so many floats from the one before."""
    builder = FileBuilder()
    tensors = [builder.tensor([1, count]) for count in floats]
    for given, made in itertools.pairwise(tensors):
        builder.operator("ABS", [given], [made])
    return builder.build(tensors[:1], tensors[-1:])


def test_a_chain_holds_two_tensors_at_a_time():
    found = plan(chain(16, 32, 64, 16), source="it")
    # 32 and 64 floats meet at the second operator; TFLite keeps the input's 16 as well.
    assert (found.lower_bound_bytes, found.peak_operator, found.peak_name) == (96 * 4, 1, "ABS")
    assert found.arena_bytes == (16 + 64 + 32) * 4
    assert found.unpacked_bytes == 0


def test_addresses_are_multiples_of_64():
    # The input, 4 bytes, moves what comes next to 64.
    assert plan(chain(1, 16), source="it").arena_bytes == 64 + 64
    assert plan(chain(1, 16), source="it").lower_bound_bytes == 4 + 64


def test_sizes_grow_with_the_batch():
    found = plan(chain(16, 32, 64, 16), source="it", batch=10)
    assert (found.batch, found.lower_bound_bytes) == (10, 960 * 4)
    assert found.to_dict()["arena_bytes"] == 10 * 112 * 4


def test_a_file_of_a_large_batch_is_planned_for_one_image():
    builder = FileBuilder()
    given, made = builder.tensor([8, 16]), builder.tensor([8, 32])
    builder.operator("ABS", [given], [made])
    data = builder.build([given], [made])
    assert plan(data, source="it").lower_bound_bytes == 8 * 48 * 4
    one = plan(data, source="it", batch=1)
    assert (one.batch, one.lower_bound_bytes, one.arena_bytes) == (1, 48 * 4, 48 * 4)


def test_a_branch_keeps_its_tensor_alive():
    builder = FileBuilder()
    given, left, right, both = (builder.tensor([1, 16]) for _ in range(4))
    builder.operator("ABS", [given], [left])
    builder.operator("ABS", [left], [right])
    builder.operator("ADD", [left, right], [both])
    found = plan(builder.build([given], [both]), source="it")
    assert (found.lower_bound_bytes, found.peak_operator) == (3 * 64, 2)


def test_a_reshape_shares_the_memory_of_its_input():
    builder = FileBuilder()
    given, between, flat, made = (builder.tensor([1, 16]) for _ in range(4))
    builder.operator("ABS", [given], [between])
    builder.operator("RESHAPE", [between], [flat])
    builder.operator("ABS", [flat], [made])
    found = plan(builder.build([given], [made]), source="it")
    assert (found.lower_bound_bytes, found.arena_bytes) == (2 * 64, 3 * 64)


def test_constants_and_what_is_unpacked_from_them_are_no_activations():
    builder = FileBuilder()
    given, unpacked, made = builder.tensor([1, 4]), builder.tensor([4, 4]), builder.tensor([1, 4])
    builder.operator("DEQUANTIZE", [builder.constant(np.zeros([4, 4], np.float16))], [unpacked])
    builder.operator("FULLY_CONNECTED", [given, unpacked, -1], [made])
    found = plan(builder.build([given], [made]), source="it")
    assert (found.lower_bound_bytes, found.unpacked_bytes) == (32, 64)


def test_the_tightest_gap_is_taken():
    lifetimes = [
        Lifetime(0, 640, 0, 3),  # throughout: at 0
        Lifetime(1, 320, 0, 1),  # the largest of the others: behind it, at 640
        Lifetime(2, 256, 1, 2),  # meets both: at 960
        Lifetime(3, 192, 2, 3),  # in the gap that 1 has left: at 640
    ]
    assert greedy_arena_bytes(lifetimes) == 960 + 256
    assert alive_bytes(lifetimes, operators=4) == [960, 1216, 1088, 832]
    # One that is too large for it comes before them, and 2 behind it.
    longer = [*lifetimes[:3], Lifetime(3, 384, 2, 3)]
    assert greedy_arena_bytes(longer) == 640 + 384 + 256


def test_control_flow_is_refused():
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("WHILE", [given], [made])
    with pytest.raises(ValueError, match=r"mine cannot be planned: its graph has WHILE"):
        plan(builder.build([given], [made]), source="mine")
    empty = FileBuilder()
    given = empty.tensor([1, 4])
    with pytest.raises(ValueError, match=r"its graph has no operator"):
        plan(empty.build([given], [given]), source="mine")
    with pytest.raises(ValueError, match="batch must be an integer of at least 1"):
        plan(chain(1, 2), source="mine", batch=0)


def litert_arena_bytes(data):
    """From the first to the last address at which LiteRT's own kernels keep an activation."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from tfcompress import file_graph, flatbuffer

    interpreter = Interpreter(
        model_content=data,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    model = flatbuffer.parse(data, source="it")
    graph = model.subgraphs[0]
    spans = []
    for index in set(range(len(graph.tensors))) - file_graph.constant_tensors(model, graph):
        array = interpreter.tensor(index)()
        start = array.__array_interface__["data"][0]
        spans.append((start, start + array.nbytes))
    return max(end for _, end in spans) - min(start for start, _ in spans)


def residual_network(width):
    """Poolings, additions and a reshape, whose kernels ask for no scratch memory."""
    builder = FileBuilder()
    given = before = builder.tensor([1, 16, 16, width])
    side = 16
    for _ in range(3):
        inside = [builder.tensor([1, side, side, width]) for _ in range(3)]
        builder.operator("ABS", [before], [inside[0]])
        builder.operator("NEG", [inside[0]], [inside[1]])
        builder.operator("ADD", [before, inside[1]], [inside[2]])
        side //= 2
        before = builder.tensor([1, side, side, width])
        window = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
        builder.operator("MAX_POOL_2D", [inside[2]], [before], **window)
    flat, made = (builder.tensor([1, side * side * width]) for _ in range(2))
    size = builder.constant(np.array([1, side * side * width], np.int32))
    builder.operator("RESHAPE", [before, size], [flat])
    builder.operator("ABS", [flat], [made])
    return builder.build([given], [made])


@pytest.mark.parametrize("width", [3, 8, 16])
def test_the_arena_is_that_of_litert(width):
    data = residual_network(width)
    assert memory_plan.plan(data, source="it").arena_bytes == litert_arena_bytes(data)


def test_litert_needs_no_less_for_real_layers(exported):
    for format in ("float32", "int8"):
        data = exported(format).data
        found = memory_plan.plan(data, source=format)
        assert found.lower_bound_bytes <= found.arena_bytes <= litert_arena_bytes(data)
