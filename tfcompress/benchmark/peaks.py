"""The measuring process of a roofline's ceilings: a matrix product and a copy, timed on a device.

    peaks = peaks_in_process("litert_cpu", threads=2)
    python -m tfcompress.benchmark.peaks < request.json

The matrix product is a chain of 1x1 convolutions in a file made for it, run by the runtime that
the models are run by. A chain of several is timed beside one of a single link, turn by turn: the
difference of the shortest times is that of the links alone, without the way of inputs and outputs
to the device and back. The copy is NumPy's on the processor, in as many threads, for footprints
from the caches to main memory; on a GPU it is a chain of poolings of one element each, which read
and write every element once. (XNNPACK leaves such poolings out, and works on others in place.)

All of it is measured in several processes. Whatever else goes on only ever slows a device down, so
that the ceiling is the best that was seen and not the median; but a best that the others do not
confirm, or that was seen on a busy machine, is none, and refused.

Options of the runtime, such as other kernels, count: the ceiling of plain loops is that of plain
loops. For the ceiling of the processor itself ask for `litert_cpu` alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tfcompress import file_cost, latency, machine_state, runtimes
from tfcompress.benchmark.process import MeasurementError, Runner, run_in_process, serve
from tfcompress.file_building import FileBuilder
from tfcompress.latency import LatencySamples
from tfcompress.litert import check_counts
from tfcompress.machine_state import Stretch
from tfcompress.random_inputs import random_values
from tfcompress.records import from_record
from tfcompress.roofline import Peaks, peaks_from_dict

_MODULE = "tfcompress.benchmark.peaks"
_SECOND = 1_000_000_000
# A chain that takes hardly longer than one link was not carried out link by link.
_LEAST_GROWTH = 1.2


@dataclass(frozen=True)
class Sizes:
    """How large the work is that is timed on a kind of device.

    Attributes:
      side: height and width of the matrix product's images; its rows are `side` squared.
      channels: inputs and outputs of the matrix product.
      links: of the longer chain.
      copy_side: height and width of the images that are copied on a GPU.
      copy_channels: of them.
      rounds: timed calls of each chain.
    """

    side: int
    channels: int
    links: int = 5
    copy_side: int = 0
    copy_channels: int = 0
    rounds: int = 10


SIZES = {
    # 268 million multiply-accumulates a link, in a few megabytes.
    "cpu": Sizes(side=32, channels=512),
    # 17 billion a link; 64 MiB of source and as much of target.
    "gpu": Sizes(side=64, channels=2048, copy_side=256, copy_channels=256, rounds=20),
}
"""By the device that a session says it runs on."""

FOOTPRINTS = tuple(4**step << 18 for step in range(6))
"""Bytes of source and target of the copies on a processor: 256 KiB to 256 MiB."""

# Python's threads hand its lock from one to the other around each call of NumPy, which takes longer
# than a copy of less than this. Such a copy is repeated within one call, which lets go of the lock
# if it copies more than 500 items (numpy/ndarraytypes.h, NPY_BEGIN_THREADS_THRESHOLDED).
_LEAST_PART = 4 << 20
_FEWEST_ITEMS = 512
# Copied by each thread in a timed stretch, so that starting the threads weighs little.
_STRETCH_BYTES = 128 << 20
_STRETCHES = 8
_PAGE = 4096


def peaks_in_process(
    runtime: str = "litert_cpu",
    *,
    threads: int = 1,
    timeout_seconds: float = 300.0,
    processes: int = 3,
    runner: Runner | None = None,
) -> Peaks:
    """Measures the ceilings of a device, in processes of their own, one after the other.

    Args:
      runtime: a runtime that takes `.tflite` files, with its options if any.
      threads: processor threads, 1 to 256.
      timeout_seconds: a process that takes longer is killed.
      processes: that measure; two at least, since nothing confirms a single one.
      runner: runs one request in a process of its own; for tests.

    Raises:
      ValueError: an unknown runtime, one that does not take `.tflite` files, or a count out of
        range.
      MeasurementError: the runtime does not work here, a process failed or took too long, or what
        they found is no ceiling; see `agreed`.
    """
    engine = runtimes.choose(runtime)
    check_counts(threads=threads)
    if processes < 2:
        raise ValueError(f"processes must be an integer of at least 2. Received: {processes}.")
    if ".tflite" not in engine.suffixes:
        raise ValueError(
            f"The ceilings are measured with a .tflite file. The runtime {runtime} takes files "
            f"that end in {' or '.join(engine.suffixes)}."
        )
    request = {"runtime": runtime, "threads": threads}
    runner = runner or functools.partial(run_in_process, module=_MODULE)
    replies = [runner(request, timeout_seconds) for _ in range(processes)]
    return agreed(
        [peaks_from_dict(reply["peaks"]) for reply in replies],
        [from_record(Stretch, reply["machine"]) for reply in replies],
    )


def agreed(found: Sequence[Peaks], machine: Sequence[Stretch]) -> Peaks:
    """The best that several processes saw of one device, if it can be believed.

    Args:
      found: by each process.
      machine: meanwhile, for each.

    Raises:
      MeasurementError: the median of a figure is more than `latency.TOLERANCE` below the best: half
        of the processes or more do not confirm it; other processes, a hypervisor or throttling took
        processor time in half of them or more, as `latency.faults` tells it; or they ran on
        different devices.
    """
    first = found[0]
    names = {f"{each.device} {each.device_name or ''}".strip() for each in found}
    reasons = [f"they ran on {' and '.join(sorted(names))}"] if len(names) > 1 else []
    for what, seen in _figures(found).items():
        if statistics.median(seen) < (1 - latency.TOLERANCE) * max(seen):
            each = ", ".join(f"{speed / 1e9:.3g}" for speed in sorted(seen))
            reasons.append(f"{what} came to {each} billion a second")
    nothing: tuple[tuple[int, ...], ...] = ((),) * len(found)
    quiet = LatencySamples(first.runtime, first.threads, 1, nothing, (), (), machine=tuple(machine))
    reasons += latency.faults(quiet)
    if reasons:
        raise MeasurementError(
            f"The {len(found)} processes that measured the device's ceilings found none: "
            f"{'; '.join(reasons)}. Measure again on a quiet machine."
        )
    return dataclasses.replace(
        first,
        macs_per_second={
            kind: max(each.macs_per_second[kind] for each in found)
            for kind in first.macs_per_second
        },
        bytes_per_second=tuple(
            (size, max(dict(each.bytes_per_second)[size] for each in found))
            for size, _ in first.bytes_per_second
        ),
    )


def _figures(found: Sequence[Peaks]) -> dict[str, list[float]]:
    """What each process found, by what it is."""
    products = {
        f"the {kind} product": [each.macs_per_second[kind] for each in found]
        for kind in found[0].macs_per_second
    }
    return products | {
        f"a copy within {size >> 10:,} KiB": [each.bandwidth(size) for each in found]
        for size, _ in found[0].bytes_per_second
    }


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measures the ceilings in this process.

    Args:
      request: `runtime` and `threads`.

    Returns:
      `peaks`, the record of a `Peaks`, and `machine`, that of a `Stretch`.
    """
    runtime, threads = request["runtime"], request["threads"]
    engine = runtimes.choose(runtime)
    reason = engine.unavailable()
    if reason is not None:
        raise ValueError(f"The runtime {runtime} is not available. {reason}")
    with opened(engine, threads, product_chain("float32", side=1, channels=8, links=1)) as session:
        placement = session.placement
    if placement.left_over:
        raise ValueError(
            f"{runtime} leaves {', '.join(placement.left_over)} to the processor, so that its "
            "times are not those of one device. Ask for the device alone."
        )
    sizes, on_gpu = SIZES[placement.device], placement.device == "gpu"
    begin = machine_state.read(gpus=on_gpu)
    macs = {
        kind: measured_macs(engine, threads, kind, sizes=sizes) for kind in file_cost.ARITHMETICS
    }
    if on_gpu:
        copies: tuple[tuple[int, float], ...] = (device_copy(engine, threads, sizes=sizes),)
    else:
        copies = tuple((size, copy_speed(size, threads)) for size in FOOTPRINTS)
    stretch = Stretch(begin, machine_state.read(gpus=on_gpu))
    peaks = Peaks(
        runtime=runtime,
        threads=threads,
        device=placement.device,
        device_name=placement.device_name,
        macs_per_second=macs,
        bytes_per_second=copies,
    )
    return {"peaks": peaks.to_dict(), "machine": dataclasses.asdict(stretch)}


def measured_macs(engine: runtimes.Engine, threads: int, kind: str, *, sizes: Sizes) -> float:
    """Multiply-accumulates a second of a matrix product.

    Args:
      engine: runs it.
      threads: processor threads.
      kind: one of `file_cost.ARITHMETICS`.
      sizes: of the work.
    """

    def chain(links: int) -> bytes:
        return product_chain(kind, side=sizes.side, channels=sizes.channels, links=links)

    seconds = _link_seconds(engine, threads, chain, sizes=sizes, what=f"The {kind} matrix product")
    return sizes.side**2 * sizes.channels**2 / seconds


def device_copy(engine: runtimes.Engine, threads: int, *, sizes: Sizes) -> tuple[int, float]:
    """Footprint of a copy on the engine's device, and its bytes a second, read and written."""

    def chain(links: int) -> bytes:
        return copy_chain(side=sizes.copy_side, channels=sizes.copy_channels, links=links)

    footprint = 2 * 4 * sizes.copy_side**2 * sizes.copy_channels
    seconds = _link_seconds(engine, threads, chain, sizes=sizes, what="The copy")
    return footprint, footprint / seconds


def copy_speed(
    footprint_bytes: int, threads: int, *, clock: Callable[[], int] = time.perf_counter_ns
) -> float:
    """Bytes a second, read and written, of copies in the processor's memory.

    Args:
      footprint_bytes: of source and target together, shared out among the threads.
      threads: that copy at the same time, each its own part again and again.
      clock: nanoseconds, rising.
    """
    part = max(1, footprint_bytes // 2 // threads)
    copies = max(1, _STRETCH_BYTES // part)
    at_once = max(_FEWEST_ITEMS, copies) if part < _LEAST_PART else 1
    calls = max(1, copies // at_once)
    pairs = [(_repeated(part, at_once), _repeated(part, at_once)) for _ in range(threads)]

    def work(pair: tuple[np.ndarray, np.ndarray]) -> None:
        source, target = pair
        for _ in range(calls):
            np.copyto(target, source)

    took: list[int] = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_STRETCHES):
            before = clock()
            list(pool.map(work, pairs))
            took.append(clock() - before)
    return 2 * part * threads * at_once * calls * _SECOND / max(1, min(took))


def _repeated(size_bytes: int, times: int) -> np.ndarray:
    """So many bytes that begin at a page, as they are or, for more times than 1, as one item each.

    The beginning counts: with the target 16 bytes further into its page than the source, a copy of
    128 KiB by an AMD EPYC took 14 times as long.
    """
    raw = np.ones(size_bytes + _PAGE, np.uint8)
    start = -raw.ctypes.data % _PAGE
    values = raw[start : start + size_bytes]
    if times == 1:
        return values
    return as_strided(values.view(np.dtype((np.void, size_bytes))), (times,), (0,))


def product_chain(kind: str, *, side: int, channels: int, links: int) -> bytes:
    """A file with a chain of matrix products, as 1x1 convolutions that share their weights.

    Args:
      kind: one of `file_cost.ARITHMETICS`.
      side: height and width of the images.
      channels: inputs and outputs of each link.
      links: of the chain.
    """
    narrow = kind == "int8"
    builder, generator = FileBuilder(), np.random.default_rng(0)
    form: dict[str, Any] = {"type": "INT8", "scale": 1 / 16} if narrow else {}
    # Such weights keep the spread of the values from link to link.
    spread = 1 / np.sqrt(channels)
    if narrow:
        step = float(spread / 64)
        values = generator.integers(-127, 128, (channels, 1, 1, channels), np.int8)
        kernel = builder.constant(values, scale=step)
        bias = builder.constant(np.zeros(channels, np.int32), scale=step / 16)
    else:
        shape = (channels, 1, 1, channels)
        kernel = builder.constant(generator.normal(0, spread, shape).astype(np.float32))
        bias = builder.constant(np.zeros(channels, np.float32))
    tensors = [builder.tensor([1, side, side, channels], **form) for _ in range(links + 1)]
    for given, made in itertools.pairwise(tensors):
        builder.operator("CONV_2D", [given, kernel, bias], [made], strideH=1, strideW=1)
    return builder.build(tensors[:1], tensors[-1:])


def copy_chain(*, side: int, channels: int, links: int) -> bytes:
    """A file with a chain of poolings over one element, which read and write each element once."""
    builder = FileBuilder()
    tensors = [builder.tensor([1, side, side, channels]) for _ in range(links + 1)]
    options = {"strideH": 1, "strideW": 1, "filterHeight": 1, "filterWidth": 1}
    for given, made in itertools.pairwise(tensors):
        builder.operator("MAX_POOL_2D", [given], [made], **options)
    return builder.build(tensors[:1], tensors[-1:])


@contextmanager
def opened(engine: runtimes.Engine, threads: int, data: bytes) -> Iterator[runtimes.Session]:
    """Opens a file, given as bytes, for batches of one; its folder goes away with the block."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "probe.tflite")
        with open(path, "wb") as file:
            file.write(data)
        engine.prepare(path)
        yield engine.open(path, threads=threads, batch=1)


def _link_seconds(
    engine: runtimes.Engine,
    threads: int,
    chain: Callable[[int], bytes],
    *,
    sizes: Sizes,
    what: str,
) -> float:
    """The time of one link: the shortest of a long chain less that of a single link."""
    with (
        opened(engine, threads, chain(1)) as single,
        opened(engine, threads, chain(sizes.links)) as many,
    ):
        inputs = [random_values(details.dtype, details.shape) for details in single.inputs]
        turns = [(_timed(single, inputs), _timed(many, inputs)) for _ in range(sizes.rounds + 1)]
    # The first turn is the cold one.
    short, long = (min(times) for times in zip(*turns[1:], strict=True))
    if long < _LEAST_GROWTH * short:
        raise ValueError(
            f"{what} took {short / 1e6:g} ms with one link and {long / 1e6:g} ms with "
            f"{sizes.links}: the device was busy, or does not run the links one by one. Measure "
            "again on a quiet machine."
        )
    return float(long - short) / (sizes.links - 1) / _SECOND


def _timed(session: runtimes.Session, inputs: list[np.ndarray]) -> int:
    before = time.perf_counter_ns()
    session.run(inputs)
    return time.perf_counter_ns() - before


if __name__ == "__main__":
    serve(answer)
