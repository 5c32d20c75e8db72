"""Writes a TFLite file in as few bytes as the FlatBuffers format allows.

Knows the layout of FlatBuffers: tables, vectors, vtables, offsets that point forward. What is equal
stands once: a vector, a string or a whole table that several others refer to, whatever it holds.
Fields at their default are left out, everything is aligned as far as its own elements need, and
gaps are filled. Reads nothing, runs nothing, and knows of TFLite only how its buffers are aligned.
"""

from __future__ import annotations

import bisect
import dataclasses
import struct
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tfcompress.flatbuffer import FILE_IDENTIFIER

_WORD = 4
# Root offset and file identifier.
_HEADER = 8
# Which vectors are looked for in which others, in bytes: shapes and lists of tensors in their like.
_LONGEST_GUEST, _LONGEST_HOST = 32, 1024


def write(model: Any, *, alignments: Sequence[int]) -> bytes:
    """Writes a model.

    Args:
      model: as `flatbuffer.parse` gives it.
      alignments: for each buffer of the model, in bytes: 1, 2, 4 or 8, of the elements that it
        holds. An empty buffer takes any.

    Returns:
      the bytes of the file. The same model gives the same bytes.
    """
    recorder = _Recorder()
    plain = model.buffers
    model.buffers = [
        _Buffer(buffer, alignment) for buffer, alignment in zip(plain, alignments, strict=True)
    ]
    try:
        root = model.Pack(recorder)
    finally:
        model.buffers = plain
    return _laid_out(recorder.blocks, root)


@dataclass(frozen=True)
class _Block:
    """A piece of the file that stays together.

    Attributes:
      content: its bytes, with zeros where offsets go.
      origin: which position within an aligned unit it starts at: `position % alignment == origin`.
      alignment: of the unit, in bytes.
      references: (position of the offset in `content`, number of the block that it points to,
        position within that block).
      vtable: of a table, else empty.
    """

    content: bytes
    alignment: int = _WORD
    origin: int = 0
    references: tuple[tuple[int, int, int], ...] = ()
    vtable: bytes = b""


Blocks: TypeAlias = dict[int, _Block]


class _Recorder:
    """Stands in for `flatbuffers.Builder` under the schema's own `Pack`; keeps every block once.

    What the builder gives as an offset is here the number of a block, from 1; 0 is none. A block is
    made after those that it refers to, so equal ones are found by comparison alone.
    """

    def __init__(self) -> None:
        self.blocks: Blocks = {}
        self._numbers: dict[_Block, int] = {}
        self._fields: list[tuple[int, bytes, int]] = []
        self._elements: list[bytes] = []
        self._targets: list[int] = []

    def _number(self, block: _Block) -> int:
        found = self._numbers.setdefault(block, len(self._numbers) + 1)
        self.blocks[found] = block
        return found

    # Tables.

    def StartObject(self, count: int) -> None:
        self._fields = []

    def EndObject(self) -> int:
        # The widest first, so that no field needs a gap before it.
        ordered = sorted(self._fields, key=lambda entry: (-len(entry[1]), entry[0]))
        content, references, places = bytearray(_WORD), [], {}
        for slot, value, target in ordered:
            places[slot] = len(content)
            if target:
                references.append((len(content), target, 0))
            content += value
        slots = [places.get(slot, 0) for slot in range(max(places, default=-1) + 1)]
        vtable = struct.pack(f"<{len(slots) + 2}H", 2 * len(slots) + 4, len(content), *slots)
        widest = max((len(value) for _, value, _ in ordered), default=_WORD)
        # The fields begin after the word that points to the vtable.
        unit, origin = (widest, _WORD) if widest > _WORD else (_WORD, 0)
        return self._number(_Block(bytes(content), unit, origin, tuple(references), vtable))

    def PrependUOffsetTRelativeSlot(self, slot: int, target: int, default: int) -> None:
        if target:
            self._fields.append((slot, bytes(_WORD), target))

    # Vectors.

    def StartVector(self, size: int, count: int, alignment: int) -> None:
        self._elements, self._targets = [], []

    def PrependUOffsetTRelative(self, target: int) -> None:
        self._elements.append(bytes(_WORD))
        self._targets.append(target)

    def EndVector(self) -> int:
        # A builder fills from the end.
        content, targets = b"".join(reversed(self._elements)), self._targets[::-1]
        count = len(self._elements)
        size = len(content) // count if count else 1
        places = ((_WORD * (index + 1), target, 0) for index, target in enumerate(targets))
        return self._vector(count, content, alignment=size, references=tuple(places))

    def CreateNumpyVector(self, values: np.ndarray) -> int:
        array = np.ascontiguousarray(values)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return self._vector(array.size, array.tobytes(), alignment=array.itemsize)

    def CreateString(self, text: str | bytes) -> int:
        content = text.encode("utf-8") if isinstance(text, str) else bytes(text)
        return self._vector(len(content), content + b"\0", alignment=1)

    def bytes_vector(self, content: bytes, *, alignment: int) -> int:
        """A vector of bytes that are read as elements of `alignment` bytes."""
        return self._vector(len(content), content, alignment=alignment)

    def _vector(
        self,
        count: int,
        content: bytes,
        *,
        alignment: int,
        references: tuple[tuple[int, int, int], ...] = (),
    ) -> int:
        if count == 0:
            # A vector that is not there reads as an empty one.
            return 0
        unit, origin = (alignment, alignment - _WORD) if alignment > _WORD else (_WORD, 0)
        return self._number(_Block(struct.pack("<I", count) + content, unit, origin, references))


def _slot(code: str) -> Callable[[_Recorder, int, Any, Any], None]:
    """Records a scalar field, unless it has its default."""

    def record(self: _Recorder, slot: int, value: Any, default: Any) -> None:
        if value != default:
            self._fields.append((slot, struct.pack(code, value), 0))

    return record


def _element(code: str) -> Callable[[_Recorder, Any], None]:
    """Records an element of a vector."""

    def record(self: _Recorder, value: Any) -> None:
        self._elements.append(struct.pack(code, value))

    return record


# The scalars that the schema's `Pack` asks a builder for.
_SCALARS = {
    "Bool": "<?",
    "Int8": "<b",
    "Uint8": "<B",
    "Uint16": "<H",
    "Int32": "<i",
    "Uint32": "<I",
    "Int64": "<q",
    "Uint64": "<Q",
    "Float32": "<f",
}
for _name, _code in _SCALARS.items():
    setattr(_Recorder, f"Prepend{_name}Slot", _slot(_code))
    setattr(_Recorder, f"Prepend{_name}", _element(_code))


@dataclass(frozen=True)
class _Buffer:
    """Packs a buffer at the alignment of its elements."""

    buffer: Any
    alignment: int

    def Pack(self, recorder: _Recorder) -> int:
        data = self.buffer.data
        content = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        vector = recorder.bytes_vector(content, alignment=self.alignment)
        recorder.StartObject(3)
        recorder.PrependUOffsetTRelativeSlot(0, vector, 0)
        return recorder.EndObject()


def _laid_out(blocks: Blocks, root: int) -> bytes:
    """The file: every block after those that refer to it, in an order that leaves few gaps."""
    reached = _reachable(blocks, root)
    nested = _nested(reached)
    layout = _Layout(
        {n: _redirected(block, nested) for n, block in reached.items() if n not in nested}
    )
    layout.place_all(root)
    return layout.linked(root)


class _Layout:
    """Places blocks one after the other, and writes the offsets between them."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._content = bytearray(_HEADER)
        self._places: dict[int, int] = {}
        self._vtables: dict[bytes, int] = {}
        # By what decides the gaps: blocks of one kind are alike in that, and keep their order.
        self._ready: dict[tuple[int, int, int], deque[int]] = defaultdict(deque)

    def place_all(self, root: int) -> None:
        """Places the root first, and each block when all that refer to it are placed.

        Only vtables, which need two bytes' alignment and may stand anywhere, fit the gap after a
        table that ends in single bytes, so they wait for one.
        """
        waiting = Counter(
            target for block in self._blocks.values() for _, target, _ in block.references
        )
        vtables = {block.vtable for block in self._blocks.values()} - {b""}
        # First those that end a gap at a whole word.
        fillers = deque(sorted(vtables, key=lambda v: (len(v) % _WORD == 0, v)))
        self._make_ready(root)
        while self._ready:
            if len(self._content) % _WORD and fillers:
                self._place_vtable(fillers.popleft())
                continue
            number = self._next()
            self._places[number] = self._append(self._blocks[number])
            for _, target, _ in self._blocks[number].references:
                waiting[target] -= 1
                if not waiting[target]:
                    self._make_ready(target)
        for vtable in fillers:
            self._place_vtable(vtable)

    def linked(self, root: int) -> bytes:
        """The file with its offsets, which are relative to where they stand."""
        content = self._content
        struct.pack_into("<I4s", content, 0, self._places[root], FILE_IDENTIFIER)
        for number, place in self._places.items():
            block = self._blocks[number]
            if block.vtable:
                struct.pack_into("<i", content, place, place - self._vtables[block.vtable])
            for position, target, inside in block.references:
                offset = self._places[target] + inside - (place + position)
                struct.pack_into("<I", content, place + position, offset)
        return bytes(content)

    def _make_ready(self, number: int) -> None:
        block = self._blocks[number]
        self._ready[block.alignment, block.origin, -len(block.content) % _WORD].append(number)

    def _next(self) -> int:
        """The block that leaves the smallest gap before it, then after it."""
        position = len(self._content)
        kind = min(self._ready, key=lambda kind: ((kind[1] - position) % kind[0], kind[2], kind))
        number = self._ready[kind].popleft()
        if not self._ready[kind]:
            del self._ready[kind]
        return number

    def _place_vtable(self, vtable: bytes) -> None:
        self._vtables[vtable] = self._append(_Block(vtable, alignment=2))

    def _append(self, block: _Block) -> int:
        self._content += bytes((block.origin - len(self._content)) % block.alignment)
        place = len(self._content)
        self._content += block.content
        return place


def _reachable(blocks: Blocks, root: int) -> Blocks:
    """The blocks that the root leads to."""
    found, left = {root: blocks[root]}, [root]
    while left:
        for _, target, _ in found[left.pop()].references:
            if target not in found:
                found[target] = blocks[target]
                left.append(target)
    return found


def _nested(blocks: Blocks) -> dict[int, tuple[int, int]]:
    """Short vectors that stand word for word in a longer one: number -> (the longer one, where).

    The shape [24] is a word for its length and the 24; the shape [1, 24] ends with the same two.
    """
    vectors = {
        number: block.content
        for number, block in blocks.items()
        if not block.references and not block.vtable and len(block.content) <= _LONGEST_HOST
    }
    found: dict[int, tuple[int, int]] = {}
    hosts = _Hosts()
    for number in sorted(vectors, key=lambda number: (-len(vectors[number]), number)):
        content = vectors[number]
        short = len(content) <= _LONGEST_GUEST and blocks[number].alignment == _WORD
        fit = hosts.find(content) if short else None
        if fit is None:
            hosts.add(number, content)
        else:
            found[number] = fit
    return found


class _Hosts:
    """Vectors one after the other, to look for short ones in all of them at once."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._numbers: list[int] = []
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, number: int, content: bytes) -> None:
        self._numbers.append(number)
        self._starts.append(len(self._content))
        self._content += content
        self._ends.append(len(self._content))
        self._content += bytes(-len(content) % _WORD)

    def find(self, content: bytes) -> tuple[int, int] | None:
        """The first vector that holds a content from a whole word on, and where."""
        place = self._content.find(content)
        while place >= 0:
            index = bisect.bisect_right(self._starts, place) - 1
            if place % _WORD == 0 and place + len(content) <= self._ends[index]:
                return self._numbers[index], place - self._starts[index]
            place = self._content.find(content, place + 1)
        return None


def _redirected(block: _Block, nested: Mapping[int, tuple[int, int]]) -> _Block:
    """A block that refers to the longer vectors instead of those that stand in them."""
    references = (
        (position, *nested.get(target, (target, 0))) for position, target, _ in block.references
    )
    return dataclasses.replace(block, references=tuple(references))
