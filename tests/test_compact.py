"""The layout of a file, with sizes and places worked out by hand."""

import struct
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfcompress import compact, flatbuffer, minimal_steps
from tfcompress.compact import _nested, _Recorder


def model_of(*shapes, buffers=1):
    """A graph of tensors without operators."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    graph.tensors = [schema.TensorT() for _ in shapes]
    for tensor, shape in zip(graph.tensors, shapes, strict=True):
        tensor.shape = np.array(shape, np.int32)
    model.version, model.subgraphs = 3, [graph]
    model.buffers = [schema.BufferT() for _ in range(buffers)]
    return model


def written(model):
    return compact.write(model, alignments=minimal_steps.element_widths(model))


def everything(value):
    """What the schema's objects hold, an empty vector being none."""
    if isinstance(value, list | np.ndarray):
        return [everything(item) for item in value] or None
    if hasattr(value, "__dict__"):
        return {name: everything(item) for name, item in vars(value).items()}
    return value


def test_the_smallest_file_to_the_byte():
    model = schema.ModelT()
    model.version, model.description, model.buffers = 3, "ab", []
    data = compact.write(model, alignments=[])
    header = struct.pack("<I4s", 8, b"TFL3")
    # The vtable stands at 28; then the version, then the description, which is 4 bytes further on.
    table = struct.pack("<iII", 8 - 28, 3, 4)
    # Its length, its letters, the zero that ends it, and one byte up to an even place.
    text = struct.pack("<I", 2) + b"ab\0" + b"\0"
    # Its own size, that of the table, and the places of fields 0 to 3 in it: 1 and 2 are not there.
    vtable = struct.pack("<6H", 12, 12, 4, 0, 0, 8)
    assert data == header + table + text + vtable


def test_what_is_equal_stands_once():
    one, ten = (len(written(model_of(*[(2, 3)] * count))) for count in (1, 10))
    # Nine more offsets to the very same tensor.
    assert ten - one == 9 * 4


def test_a_vector_inside_another_is_not_written_again():
    # [3, 5] is (2, 3, 5); it stands within (4, 2, 3, 5, 7), but not at the end of (2, 3, 7).
    around = len(written(model_of((2, 3, 5, 7))))
    inside = len(written(model_of((2, 3, 5, 7), (3, 5))))
    beside = len(written(model_of((2, 3, 5, 7), (3, 7))))
    assert beside - inside == 12
    assert inside > around


def test_a_vector_is_found_at_whole_words_only():
    recorder = _Recorder()
    host = recorder.bytes_vector(
        bytes([0, 0, 1, 0, 0, 0, 9, 9, 1, 0, 0, 0, 7, 0, 0, 0]), alignment=1
    )
    odd = recorder.bytes_vector(b"\x09", alignment=1)
    whole = recorder.CreateNumpyVector(np.array([7], np.int32))
    assert _nested(recorder.blocks) == {whole: (host, 4 + 8)}
    assert odd not in _nested(recorder.blocks)


@pytest.mark.parametrize(
    ("kind", "width"), [("INT64", 8), ("FLOAT32", 4), ("INT8", 1), ("INT4", 1)]
)
def test_buffers_are_aligned_to_their_elements(kind, width):
    model = model_of((1,), (1,), buffers=3)
    for index, tensor in enumerate(model.subgraphs[0].tensors, start=1):
        tensor.type, tensor.buffer = getattr(schema.TensorType, kind), index
        model.buffers[index].data = np.full(8 * index, index, np.uint8)
    assert minimal_steps.element_widths(model) == [1, width, width]
    table = schema.Model.GetRootAs(written(model), 0)
    for index in (1, 2):
        buffer = table.Buffers(index)
        assert buffer.DataAsNumpy().tolist() == [index] * 8 * index
        # A vector's length is a word, so what follows is never aligned to less.
        assert buffer._tab.Vector(buffer._tab.Offset(4)) % max(width, 4) == 0


def test_scalars_of_eight_bytes_are_aligned():
    recorder = _Recorder()
    recorder.StartObject(2)
    recorder.PrependUint64Slot(0, 5, 0)
    recorder.PrependUint8Slot(1, 1, 0)
    number = recorder.EndObject()
    block = recorder.blocks[number]
    # The word that points to the vtable, then eight bytes, then one.
    assert (block.alignment, block.origin, len(block.content)) == (8, 4, 13)


def test_the_builders_interface_is_covered():
    """Everything that the schema's `Pack` asks of a builder."""
    source = Path(schema.__file__).read_text(encoding="utf-8")
    asked = {part.split("(")[0] for part in source.split(" builder.")[1:]}
    asked = {name.strip() for name in asked if name[:1].isupper()}
    assert asked <= set(dir(_Recorder)) | {"Finish"}
    assert all(hasattr(flatbuffers.Builder, name) for name in asked)


@pytest.mark.parametrize("format", ["float32", "float16", "dynamic", "int8", "int16x8"])
def test_a_file_says_the_same_in_fewer_bytes(exported, format):
    data = exported(format).data
    model = flatbuffer.parse(data, source="a")
    made = written(model)
    again = flatbuffer.parse(made, source="b")
    assert everything(again) == everything(flatbuffer.parse(data, source="a"))
    assert len(made) < len(data)
    assert written(again) == made
