"""Makes a TFLite file as small as LiteRT takes it, with the same outputs bit for bit.

    print(minimize(Artifact.load("digits.tflite")))

Knows in which order the steps are taken, and holds each against the file that it began with: both
are run on the same inputs, with XNNPACK and without it. Does not know what a step takes out
(`minimal_steps`) nor how a file is laid out (`compact`). No TensorFlow here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from tfcompress import compact, flatbuffer, minimal_steps
from tfcompress.artifact import Artifact, cut
from tfcompress.flatbuffer import OperatorInfo
from tfcompress.litert import Plan, Session, TensorDetails
from tfcompress.results import MinimalStep
from tfcompress.sparse_encoding import store_sparse

LAYOUT, TIDY = "layout", "unused and equal parts"
# Unpacks a sparse constant when a file is loaded.
_UNPACKING = "DENSIFY"
_DELEGATE = "DELEGATE"
_BATCH = 3
_RANDOM_EXAMPLES = 4


class MinimalError(ValueError):
    """A file that cannot be made minimal. The message says why."""


@dataclass(frozen=True)
class Minimized:
    """A minimal file, and how it came about. Its text form is a table of the steps.

    Attributes:
      artifact: the minimal file.
      before: the file that it was made from.
      steps: in order, those that the file cannot take included.
    """

    artifact: Artifact
    before: Artifact
    steps: tuple[MinimalStep, ...]

    @property
    def saved_bytes(self) -> int:
        """How many bytes the minimal file is smaller."""
        return self.before.size_bytes - self.artifact.size_bytes

    @property
    def refused(self) -> tuple[MinimalStep, ...]:
        """The steps that this file cannot take."""
        return tuple(step for step in self.steps if step.refused)

    def __str__(self) -> str:
        width = max(len(step.name) for step in self.steps) + 2
        lines = [f"{'before':{width}}{self.before.size_bytes:>12,}"]
        for step in self.steps:
            said = f"  refused: {step.refused}" if step.refused else f"  {step.note}".rstrip()
            lines.append(f"{step.name:{width}}{-step.saved_bytes:>12,}{said}")
        return "\n".join([*lines, f"{'after':{width}}{self.artifact.size_bytes:>12,}"])


def minimize(
    artifact: Artifact, *, metadata: bool = True, bias_scales: bool = True, sparse: bool = False
) -> Minimized:
    """Takes out of a file all that no output depends on, and writes the rest compactly.

    Gone are the names of tensors and graphs, signatures, the converter's notes, unused and equal
    buffers, what a quantization record says twice. Each step is kept only where the file gets
    smaller and LiteRT runs it as before: the same outputs, bit for bit, and the same operators in
    the same engines. A step that a file cannot take is recorded, not passed over in silence.

    Args:
      artifact: one input, one output.
      metadata: keep this package's record (preprocessing, labels, stages), packed; without it the
        file is some bytes smaller and `Artifact.predict` does not know what to do with an image or
        a text.
      bias_scales: keep the scales of each bias. No engine on a processor reads them where the
        kernel has a scale for each channel, and without them a file is smaller by 4 bytes a
        channel; a GPU delegate reads them, and gives other outputs without.
      sparse: store kernels in TFLite's sparse encoding where that is smaller and LiteRT runs the
        kind of operator with it. Each gets an operator that unpacks it when the file is loaded.

    Returns:
      the minimal file and the steps.

    Raises:
      MinimalError: the file has parts outside the format that can be written here, or does not
        run as before.
      ValueError: LiteRT cannot run the file as it is.
    """
    _require_writable(artifact)
    steps: dict[str, Callable[[Any], str]] = dict(minimal_steps.STEPS)
    if not metadata:
        steps["own metadata"] = minimal_steps.drop_metadata
    if not bias_scales:
        steps["bias scales"] = minimal_steps.share_bias_scales
    if sparse:
        # Each kind on its own: LiteRT takes a sparse kernel of one and refuses that of another.
        kinds = {operator.name for operator in artifact.operators} & set(flatbuffer.KERNELS)
        for kind in sorted(kinds):
            steps[f"sparse {kind}"] = partial(store_sparse, kind=kind)
    work = _Work(artifact)
    work.take(LAYOUT, lambda model: "")
    if work.records[0].refused:
        raise MinimalError(
            f"{artifact} cannot be written compactly: {work.records[0].refused}. Use it as it is."
        )
    for name, step in ({TIDY: minimal_steps.tidy} | steps).items():
        work.take(name, step)
    found = Artifact(work.data)
    difference = work.reference.difference(found.data, thorough=True)
    difference = difference or _content_difference(artifact, found)
    if difference:
        raise MinimalError(f"The minimal form of {artifact} is not the same: {difference}.")
    return Minimized(found, artifact, tuple(work.records))


def minimize_or_keep(artifact: Artifact, *, bias_scales: bool, sparse: bool) -> Minimized:
    """As `minimize`, for those who have trained for hours: a file with no minimal form is kept.

    Its one step, `layout`, then says what stood in the way.
    """
    try:
        return minimize(artifact, bias_scales=bias_scales, sparse=sparse)
    except MinimalError as error:
        return Minimized(artifact, artifact, (MinimalStep(LAYOUT, refused=str(error)),))


def _require_writable(artifact: Artifact) -> None:
    if len(artifact.data) > flatbuffer.LARGEST_FILE:
        raise MinimalError(
            f"{artifact} takes {len(artifact.data):,} bytes. Expected at most "
            f"{flatbuffer.LARGEST_FILE:,}, which a FlatBuffer holds."
        )


class _Work:
    """A file that gets smaller step by step, and the record of the steps."""

    def __init__(self, artifact: Artifact) -> None:
        self.data = artifact.data
        self.records: list[MinimalStep] = []
        self.reference = _Reference(artifact)
        self._tidy = False

    def take(self, name: str, step: Callable[[Any], str]) -> None:
        """Takes a step, unless the file would not get smaller or not run as before."""
        model = flatbuffer.parse(self.data, source="The TFLite model")
        note = step(model)
        if self._tidy:
            minimal_steps.tidy(model)
        made = compact.write(model, alignments=minimal_steps.element_widths(model))
        refused = "" if made == self.data else self.reference.difference(made)
        saved = len(self.data) - len(made)
        if refused:
            self.records.append(MinimalStep(name, refused=refused))
        elif saved < 0:
            self.records.append(MinimalStep(name, note="the file would not get smaller"))
        else:
            self.data = made
            self.records.append(MinimalStep(name, saved, note=note))
            self._tidy |= name == TIDY


class _Reference:
    """What a file gives for inputs of all kinds, to hold others against."""

    def __init__(self, artifact: Artifact) -> None:
        self._data = artifact.data
        self._lengths = artifact.lengths[::-1] or (None,)
        self._examples = _examples(
            artifact.session().input_details, vocabulary=_vocabulary(artifact)
        )
        self._batches = [1]
        try:
            Session(self._data, batch=_BATCH, length=self._lengths[0])
            self._batches.append(_BATCH)
        except ValueError:
            # Exported for single images.
            pass

    @cached_property
    def _expected(self) -> dict[tuple[int, int | None, str], _Behaviour]:
        return {
            setting: self._behaviour(self._data, *setting)
            for setting in itertools.product(self._batches, self._lengths, ("xnnpack", "builtin"))
        }

    def _behaviour(self, data: bytes, batch: int, length: int | None, kernels: str) -> _Behaviour:
        session = Session(data, batch=batch, length=length, kernels=kernels)
        plan, examples = session.plan(), cut(self._examples, length)
        batches = (examples[start : start + batch] for start in range(0, len(examples), batch))
        outputs = np.concatenate([session.run(part) for part in batches])
        return _Behaviour((session.input_details, session.output_details), plan, outputs)

    def difference(self, data: bytes, *, thorough: bool = False) -> str:
        """In what another file does not behave as this one; empty where it does.

        Args:
          data: the other file's bytes.
          thorough: run batches and shorter texts too, not single examples of one length only.
        """
        for (batch, length, kernels), expected in self._expected.items():
            if not thorough and (batch > 1 or length != self._lengths[0]):
                continue
            try:
                received = self._behaviour(data, batch, length, kernels)
            except (ValueError, RuntimeError) as error:
                # The session's own message adds what to do about an export.
                reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
                return f"LiteRT does not run it ({reason[:200]})"
            found = expected.difference(received)
            if found:
                return f"{found} with a batch of {batch} and {kernels} kernels"
        return ""


@dataclass(frozen=True)
class _Behaviour:
    """What LiteRT makes of a file, and what comes out."""

    ends: tuple[TensorDetails, TensorDetails]
    plan: Plan
    outputs: np.ndarray

    def difference(self, other: _Behaviour) -> str:
        if self.ends != other.ends:
            return "input or output is of another shape, type or scale"
        if _engines(self.plan, other.plan) != _engines(other.plan, self.plan):
            return "other operators run, or in another engine"
        same = self.outputs.tobytes() == other.outputs.tobytes()
        return "" if same else "the outputs differ"


def _engines(plan: Plan, other: Plan) -> list[tuple[str, int, int]]:
    """A plan as far as it can be compared with another.

    Where one of them unpacks sparse weights itself, a delegate takes in other things in the other.
    """
    if not any(name == _UNPACKING for name, _, _ in (*plan, *other)):
        return list(plan)
    kept = [node for node in plan if node[0] not in (_UNPACKING, _DELEGATE)]
    delegates = [(name, 0, 0) for name, _, _ in plan if name == _DELEGATE]
    return kept + delegates


def _vocabulary(artifact: Artifact) -> int:
    """Below what the ids of tokens are that a file reads; 1 where it does not say."""
    record = artifact.metadata.get("preprocessing")
    found = record.get("vocabulary", 1) if isinstance(record, dict) else 1
    return found if type(found) is int and found > 0 else 1


def _examples(details: TensorDetails, *, vocabulary: int) -> np.ndarray:
    """Random examples, an all-low and an all-high one: as many as fill the batches.

    Wide integers are rows of a table of `vocabulary` rows.
    """
    generator = np.random.default_rng(0)
    shape = (_RANDOM_EXAMPLES, *details.shape[1:])
    low, high = -1.0, 1.0
    if details.dtype.kind != "f":
        limits = np.iinfo(details.dtype)
        wide = details.dtype.itemsize > 1 and details.scale is None
        low, high = (0, vocabulary - 1) if wide else (float(limits.min), float(limits.max))
    random = generator.uniform(low, high, shape)
    ends = [np.full(shape[1:], value) for value in (low, high)]
    return np.concatenate([random, np.stack(ends)]).astype(details.dtype)


def _content_difference(before: Artifact, after: Artifact) -> str:
    """In what a file that runs alike still says something else of itself."""
    if _operators(before) != _operators(after):
        return "other operators, or others of them in integers"
    try:
        kernels = [list(artifact.weights().values()) for artifact in (before, after)]
    except ValueError:
        # Of a type that cannot be read here, such as INT4: the outputs have to tell.
        return ""
    pairs = zip(*kernels, strict=True)
    same = all(np.array_equal(old.dequantize(), new.dequantize()) for old, new in pairs)
    return "" if same else "weights stand for other values"


def _operators(artifact: Artifact) -> list[OperatorInfo]:
    """Those that compute something: what unpacks a constant goes with the constant's encoding."""
    return [operator for operator in artifact.operators if operator.name != _UNPACKING]
