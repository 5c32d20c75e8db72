"""The single steps that take from a TFLite file what no output depends on.

Each step is a function on the objects of `flatbuffer.parse`, which it changes; where there is
something to tell, it returns a note. Knows what the schema's fields are for. Does not know whether
LiteRT runs what is left, nor how many bytes a step saves: `minimal` finds both out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress import flatbuffer, metadata
from tfcompress.flatbuffer import KERNELS, named_operators

_BIAS = 2
_NOTES = ("min_runtime_version", "CONVERSION_METADATA")
# Codes up to this one fit the older, one-byte field of an operator code.
_LAST_NARROW_CODE = 126


def drop_names(model: Any) -> str:
    """Names of tensors and graphs, and the description."""
    model.description = None
    for graph in model.subgraphs:
        graph.name = None
        for tensor in graph.tensors:
            tensor.name = None
    return ""


def drop_signature(model: Any) -> str:
    """The names under which a signature calls the inputs and outputs.

    Several signatures are several ways to run the file, so they stay.
    """
    if len(model.signatureDefs or []) == 1 and len(model.subgraphs) == 1:
        model.signatureDefs = None
    return ""


def drop_converter_notes(model: Any) -> str:
    """What the converter wrote about itself.

    Other metadata stay: LiteRT reads `reduced_precision_support`, a user's program its own.
    """
    entries = model.metadata or []
    model.metadata = [entry for entry in entries if _name(entry) not in _NOTES] or None
    return ", ".join(name for name in map(_name, entries) if name in _NOTES)


def pack_metadata(model: Any) -> str:
    """This package's own record: the same content, deflated."""
    content = flatbuffer.read_metadata(model, metadata.NAME)
    if content is not None:
        record = metadata.packed(metadata.unpacked(content))
        flatbuffer.set_metadata(model, metadata.NAME, record)
    return ""


def drop_metadata(model: Any) -> str:
    """This package's own record."""
    if flatbuffer.read_metadata(model, metadata.NAME) is None:
        return ""
    model.metadata = [entry for entry in model.metadata if _name(entry) != metadata.NAME] or None
    return "Artifact.predict no longer works: preprocessing, labels and stages are gone"


def drop_open_shapes(model: Any) -> str:
    """The note that a dimension is open. LiteRT resizes every input, with the note or without.

    Where more than the batch is open, the note says so to whoever runs the file, and stays.
    """
    inputs = (graph.tensors[place] for graph in model.subgraphs for place in graph.inputs)
    if any(list(_open(tensor)).count(-1) > 1 for tensor in inputs):
        return ""
    for tensor in _tensors(model):
        tensor.shapeSignature = None
    return ""


def _open(tensor: Any) -> Any:
    return () if tensor.shapeSignature is None else tensor.shapeSignature


def drop_ranks(model: Any) -> str:
    """The note that a tensor's rank is known, where its shape says so."""
    for tensor in _tensors(model):
        tensor.hasRank = bool(tensor.hasRank) and not _length(tensor.shape)
    return ""


def drop_ranges(model: Any) -> str:
    """The float ranges that scales were computed from, and the axis of a single scale."""
    for tensor in _tensors(model):
        record = tensor.quantization
        if record is not None:
            record.min = record.max = None
            if _length(record.scale) <= 1:
                record.quantizedDimension = 0
    return ""


def drop_empty_quantization(model: Any) -> str:
    """Records of quantization that say nothing, as float tensors carry them."""
    for tensor in _tensors(model):
        record = tensor.quantization
        if record is not None and not _length(record.scale) and record.details is None:
            tensor.quantization = None
    return ""


def merge_equal_scales(model: Any) -> str:
    """One scale for a kernel whose channels all have the same, and for its bias."""
    merged = 0
    for kernel, bias in _kernels_and_biases(model):
        records = [x.quantization for x in (kernel, bias) if x is not None]
        if all(_same_in_all_channels(record) for record in records):
            merged += 1
            for record in records:
                record.scale, record.zeroPoint = record.scale[:1], record.zeroPoint[:1]
                record.quantizedDimension = 0
    return f"{merged} layers" if merged else ""


def share_bias_scales(model: Any) -> str:
    """The scales of a bias with a scale for each channel: those of its kernel stand in for them.

    They are by definition the input's scale times the kernel's, and no processor kernel of LiteRT
    reads them. A GPU delegate reads them, and computes something else from such a file.
    """
    shared = 0
    for kernel, bias in _kernels_and_biases(model):
        if bias is None or kernel.quantization is None or bias.quantization is None:
            continue
        count = _length(kernel.quantization.scale)
        if count > 1 and count == _length(bias.quantization.scale):
            shared += 1
            bias.quantization.scale = kernel.quantization.scale
            bias.quantization.zeroPoint = kernel.quantization.zeroPoint
    return f"{shared} layers, for processors only" if shared else ""


def unpack_large_sparse(model: Any) -> str:
    """Sparse encodings that take more bytes than the plain weights, with what unpacks them."""
    unpacked = 0
    for graph in model.subgraphs:
        for name, operator in list(named_operators(model, graph)):
            if name != "DENSIFY":
                continue
            sparse, plain = (graph.tensors[x[0]] for x in (operator.inputs, operator.outputs))
            if not flatbuffer.is_readable(sparse):
                continue
            values = flatbuffer.stored_values(model, sparse)
            if values.nbytes <= flatbuffer.stored_bytes(model, sparse):
                plain.buffer = len(model.buffers)
                model.buffers = [*model.buffers, schema.BufferT()]
                model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
                graph.operators = [other for other in graph.operators if other is not operator]
                unpacked += 1
    return f"{unpacked} kernels" if unpacked else ""


def tidy(model: Any) -> str:
    """Tensors, buffers and operator codes that nothing refers to, and equal ones of the latter two.

    Every other step leaves some behind.
    """
    _drop_unused_tensors(model)
    _merge_buffers(model)
    _merge_operator_codes(model)
    return ""


STEPS: Mapping[str, Callable[[Any], str]] = {
    "names": drop_names,
    "signature": drop_signature,
    "notes of the converter": drop_converter_notes,
    "own metadata packed": pack_metadata,
    "open shapes": drop_open_shapes,
    "ranks": drop_ranks,
    "ranges": drop_ranges,
    "empty quantization": drop_empty_quantization,
    "equal scales": merge_equal_scales,
    "large sparse encodings": unpack_large_sparse,
}
"""Every step that loses nothing, in the order in which they are taken."""


def element_widths(model: Any) -> list[int]:
    """For each buffer, the bytes of the widest element that a tensor reads from it; 1 for none."""
    widths = [1] * len(model.buffers)
    for tensor in _tensors(model):
        width = flatbuffer.element_width(tensor)
        widths[tensor.buffer] = max(widths[tensor.buffer], width)
    return widths


def _tensors(model: Any) -> Iterator[Any]:
    for graph in model.subgraphs:
        yield from graph.tensors


def _kernels_and_biases(model: Any) -> Iterator[tuple[Any, Any | None]]:
    """The tensors of each convolution and matrix product; None where there is no bias."""
    for graph in model.subgraphs:
        for name, operator in named_operators(model, graph):
            if name in KERNELS and name not in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"):
                position, _ = KERNELS[name]
                bias = operator.inputs[_BIAS] if len(operator.inputs) > _BIAS else -1
                kernel = graph.tensors[operator.inputs[position]]
                yield kernel, None if bias < 0 else graph.tensors[bias]


def _same_in_all_channels(record: Any) -> bool:
    if record is None or _length(record.scale) < 2:
        return False
    return bool((record.scale == record.scale[0]).all() and not np.any(record.zeroPoint))


def _length(values: Any) -> int:
    return 0 if values is None else len(values)


def _sequence(values: Any) -> Any:
    return () if values is None else values


def _name(entry: Any) -> str:
    return flatbuffer.text(entry.name)


def _drop_unused_tensors(model: Any) -> None:
    """Takes out tensors that no operator reads or writes."""
    for graph in model.subgraphs:
        lists = [(graph, "inputs"), (graph, "outputs")]
        for operator in graph.operators or []:
            lists += [(operator, "inputs"), (operator, "outputs"), (operator, "intermediates")]
        named = {int(i) for owner, name in lists for i in _sequence(getattr(owner, name))}
        if model.signatureDefs or len(named - {-1}) == len(graph.tensors):
            continue
        kept = [index for index in range(len(graph.tensors)) if index in named]
        places = {index: place for place, index in enumerate(kept)} | {-1: -1}
        graph.tensors = [graph.tensors[index] for index in kept]
        for owner, name in lists:
            if getattr(owner, name) is not None:
                moved = [places[int(index)] for index in getattr(owner, name)]
                setattr(owner, name, np.array(moved, np.int32))


def _merge_buffers(model: Any) -> None:
    """Takes out buffers that nothing refers to, and equal ones; buffer 0 is the empty one."""
    buffers, places = [schema.BufferT()], {b"": 0}
    for user in (*_tensors(model), *(model.metadata or [])):
        data = model.buffers[user.buffer].data
        content = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        if content not in places:
            places[content] = len(buffers)
            buffers.append(model.buffers[user.buffer])
        user.buffer = places[content]
    model.buffers = buffers


def _merge_operator_codes(model: Any) -> None:
    """Takes out operator codes of no operator, and equal ones; each in the narrowest field."""
    codes: list[Any] = []
    places: dict[tuple[Any, ...], int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            code = model.operatorCodes[operator.opcodeIndex]
            number = max(code.builtinCode, code.deprecatedBuiltinCode)
            key = (number, code.version, code.customCode)
            if key not in places:
                places[key] = len(codes)
                codes.append(code)
                if number <= _LAST_NARROW_CODE:
                    code.builtinCode, code.deprecatedBuiltinCode = 0, number
            operator.opcodeIndex = places[key]
    model.operatorCodes = codes
