"""Files built in memory, run by LiteRT and read back."""

from __future__ import annotations

import numpy as np
import pytest

from tfcompress import flatbuffer, litert
from tfcompress.file_building import FileBuilder


def test_a_matrix_product_computes():
    builder = FileBuilder()
    given, made = builder.tensor([1, 3]), builder.tensor([1, 2])
    weights = builder.constant(np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    bias = builder.constant(np.array([10, 20], np.float32))
    builder.operator("FULLY_CONNECTED", [given, weights, bias], [made])
    session = litert.Session(builder.build([given], [made]))
    outputs = session.run(np.array([[1, 0, 2]], np.float32))
    assert outputs.tolist() == [[1 + 6 + 10, 4 + 12 + 20]]


def test_an_int8_product_computes():
    builder = FileBuilder()
    given = builder.tensor([1, 2], type="INT8", scale=0.5)
    made = builder.tensor([1, 1], type="INT8", scale=1.0)
    weights = builder.constant(np.array([[2, 4]], np.int8), scale=0.5)
    builder.operator("FULLY_CONNECTED", [given, weights, -1], [made])
    session = litert.Session(builder.build([given], [made]))
    # 10 and 20 stand for 5 and 10, the weights for 1 and 2.
    assert session.run(np.array([[10, 20]], np.int8)).tolist() == [[25]]
    assert (session.input_details.scale, session.output_details.scale) == (0.5, 1.0)


def test_operators_stand_in_the_order_that_they_were_added_in():
    builder = FileBuilder()
    tensors = [builder.tensor([1, 4]) for _ in range(4)]
    for name, given, made in zip(["ABS", "NEG", "ABS"], tensors, tensors[1:], strict=False):
        builder.operator(name, [given], [made])
    model = flatbuffer.parse(builder.build(tensors[:1], tensors[-1:]), source="it")
    assert [found.name for found in flatbuffer.operators(model)] == ["ABS", "NEG", "ABS"]
    assert len(model.operatorCodes) == 2


def test_what_the_schema_does_not_have_is_refused():
    builder = FileBuilder()
    given = builder.tensor([1, 4])
    with pytest.raises(ValueError, match="has no operator 'MATRIX'"):
        builder.operator("MATRIX", [given], [given])
    with pytest.raises(ValueError, match="The options of ABS are not known"):
        builder.operator("ABS", [given], [given], strideH=1)
