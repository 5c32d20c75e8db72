"""The memory that a TFLite graph needs for its activations, worked out from their lifetimes.

    found = memory_plan.plan(Path("a.tflite").read_bytes(), source="a.tflite", batch=1)
    found.lower_bound_bytes, found.arena_bytes

Two figures, both from the file alone:

- *lower bound*: the greatest sum of bytes of activations that must exist at one time. An operator's
  inputs exist until it ends, its outputs from when it begins. An input of the graph is counted
  until its last reader, an output until the end. No planner that runs the operators one by one, in
  the file's order, needs less.
- *arena*: what the greedy planner of TFLite's interpreter comes to, with its rules: addresses are
  multiples of 64; tensors that live throughout are placed first, then the largest first, each in
  the tightest gap among those that live at the same time; inputs of the graph live throughout; a
  RESHAPE shares its input's memory.

Neither counts weights, what is unpacked from them, the scratch memory that kernels ask for, or
Python and the engine. XNNPACK plans the inside of its partitions by itself, fuses operators, and
packs a copy of the weights. What a process really takes is measured in `benchmark`. No TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tfcompress import file_graph, flatbuffer
from tfcompress.litert import check_counts

_ALIGNMENT = 64  # tflite/arena_planner.h, kDefaultArenaAlignment
# Operators that control flow carries out in other subgraphs, each with an arena of its own.
_CALLS = ("CALL", "CALL_ONCE", "IF", "WHILE", "STABLEHLO_COMPOSITE")


@dataclass(frozen=True)
class Lifetime:
    """When an activation exists.

    Attributes:
      tensor: its number in the graph.
      size_bytes: of its elements.
      first: index of the operator that writes it; 0 for an input of the graph.
      last: index of the last operator that reads it; for an output of the graph and for a state,
        that of the last operator.
    """

    tensor: int
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """The memory for the activations of a graph; the module's docstring defines both figures.

    Attributes:
      batch: images of one call.
      lower_bound_bytes: no planner needs less.
      arena_bytes: what TFLite's planner needs without scratch memory.
      peak_operator: index, in file order, of the first operator at which the lower bound is met.
      peak_name: its name as in the schema.
      unpacked_bytes: of constants that the file stores as float16 or sparse and an operator
        unpacks; an engine may keep the unpacked copy beside the arena.
    """

    batch: int
    lower_bound_bytes: int
    arena_bytes: int
    peak_operator: int
    peak_name: str
    unpacked_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return dataclasses.asdict(self)


def plan(data: bytes, *, source: str, batch: int | None = None) -> MemoryPlan:
    """Works out the memory for the activations of a file's main graph.

    Args:
      data: the file's bytes.
      source: what to call the file in a message.
      batch: images of one call; None for what the file states. Every activation is taken to grow
        with it, as in any network that treats its images alike.

    Raises:
      ValueError: no TFLite file or a damaged one, signatures that run several graphs, an open size
        other than the batch, a graph with control flow, whose other graphs have arenas of their
        own, or a batch out of range.
    """
    model = flatbuffer.parse(data, source=source)
    graph = file_graph.sized_graph(model, data, source=source)
    names = [name for name, _ in flatbuffer.named_operators(model, graph)]
    calling = sorted({name for name in names if name in _CALLS})
    if calling or not names:
        raise ValueError(
            f"The memory of {source} cannot be planned: its graph has "
            f"{', '.join(calling) or 'no operator'}. Expected one graph of operators without "
            "control flow."
        )
    stated = file_graph.batch(graph)
    batch = stated if batch is None else batch
    check_counts(batch=batch)
    found = lifetimes(model, graph, scale=batch / stated)
    sums = alive_bytes(found, operators=len(names))
    peak = sums.index(max(sums))
    constants = file_graph.constant_tensors(model, graph)
    unpacked = [
        graph.tensors[index]
        for index in constants
        if not file_graph.is_constant(model, graph.tensors[index])
    ]
    return MemoryPlan(
        batch=batch,
        lower_bound_bytes=sums[peak],
        arena_bytes=greedy_arena_bytes(_as_tflite_sees(model, graph, found)),
        peak_operator=peak,
        peak_name=names[peak],
        unpacked_bytes=sum(map(file_graph.dense_bytes, unpacked)),
    )


def lifetimes(model: Any, graph: Any, *, scale: float = 1.0) -> tuple[Lifetime, ...]:
    """When each activation of a graph exists, by number.

    Args:
      model: that the graph belongs to.
      graph: a subgraph.
      scale: sizes are multiplied by it.
    """
    constants = file_graph.constant_tensors(model, graph)
    operators = [operator for _, operator in flatbuffer.named_operators(model, graph)]
    end = max(0, len(operators) - 1)
    first = dict.fromkeys(file_graph.inputs(graph), 0)
    last: dict[int, int] = {}
    for index, operator in enumerate(operators):
        for tensor in map(int, operator.outputs):
            first.setdefault(tensor, index)
            last.setdefault(tensor, index)
        last |= {int(tensor): index for tensor in operator.inputs}
    states = [index for index, tensor in enumerate(graph.tensors) if tensor.isVariable]
    first |= dict.fromkeys(states, 0)
    last |= dict.fromkeys([*file_graph.outputs(graph), *states], end)
    return tuple(
        Lifetime(
            tensor,
            round(file_graph.dense_bytes(graph.tensors[tensor]) * scale),
            first[tensor],
            last.get(tensor, first[tensor]),
        )
        for tensor in sorted(first)
        if tensor >= 0 and tensor not in constants
    )


def alive_bytes(found: Iterable[Lifetime], *, operators: int) -> list[int]:
    """For each operator the sum of bytes of the activations that exist while it runs."""
    sums = [0] * operators
    for one in found:
        for index in range(one.first, one.last + 1):
            sums[index] += one.size_bytes
    return sums


def greedy_arena_bytes(found: Iterable[Lifetime]) -> int:
    """Bytes from the first to the last address that TFLite's greedy planner hands out.

    Reference: tflite/arena_planner.cc and tflite/simple_memory_arena.cc of LiteRT.
    """
    found = [one for one in found if one.size_bytes > 0]
    end = max((one.last for one in found), default=0)
    placed: list[tuple[int, Lifetime]] = []
    for one in sorted(found, key=lambda one: _order(one, end)):
        placed.append((_offset(one, placed), one))
        placed.sort(key=lambda pair: pair[0])
    return max((offset + one.size_bytes for offset, one in placed), default=0)


def _order(one: Lifetime, end: int) -> tuple[int, int, int]:
    if one.first == 0 and one.last == end:
        return 0, one.tensor, 0
    return 1, -one.size_bytes, one.first


def _offset(one: Lifetime, placed: list[tuple[int, Lifetime]]) -> int:
    """The tightest gap among what lives at the same time; behind it where there is no gap."""
    best: tuple[int, int] | None = None
    free = 0
    for offset, other in placed:
        if other.last < one.first or other.first > one.last:
            continue
        start = _aligned(free)
        gap = offset - free
        if start + one.size_bytes <= offset and (best is None or gap < best[0]):
            best = (gap, start)
        free = max(free, offset + other.size_bytes)
    return _aligned(free) if best is None else best[1]


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _as_tflite_sees(model: Any, graph: Any, found: Iterable[Lifetime]) -> list[Lifetime]:
    """The lifetimes by the rules of TFLite's planner: inputs stay, a RESHAPE shares."""
    kept = {one.tensor: one for one in found}
    end = max((one.last for one in kept.values()), default=0)
    borders = {*file_graph.inputs(graph), *file_graph.outputs(graph)}
    for index in file_graph.inputs(graph):
        if index in kept:
            kept[index] = dataclasses.replace(kept[index], last=end)
    owners: dict[int, int] = {}
    for name, operator in flatbuffer.named_operators(model, graph):
        if name != "RESHAPE":
            continue
        given, made = int(operator.inputs[0]), int(operator.outputs[0])
        if {given, made} & borders or given not in kept or made not in kept:
            continue
        owner = owners.setdefault(made, owners.get(given, given))
        last = max(kept[owner].last, kept[made].last)
        kept[owner] = dataclasses.replace(kept[owner], last=last)
    return [one for tensor, one in kept.items() if tensor not in owners]
