"""Minimal files: the same outputs bit for bit, what is gone, what a file refuses."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import tfcompress
from tfcompress import compact, flatbuffer, minimal, minimal_steps, native_output
from tfcompress.artifact import Artifact
from tfcompress.litert import Session
from tfcompress.minimal import MinimalError, minimize
from tfcompress.results import MinimalStep

FORMATS = ("float32", "float16", "dynamic", "int8", "int16x8")


@pytest.fixture(scope="module")
def artifact_of(exported, quadrants):
    """A file by the name of its format, `sparse` or `qat`."""
    from tfcompress.export import convert
    from tfcompress.techniques import qat

    @cache
    def make(kind):
        if kind == "qat":
            config = qat.QATConfig(calibration=quadrants.inputs[:64])
            model = qat.strip(qat.wrap(quadrants.model, config, steps_per_epoch=1, epochs=1))
            return convert(model, "int8", metadata=quadrants.metadata)
        if kind == "sparse":
            return convert(
                thinned(quadrants.model), "float32", sparse=True, metadata=quadrants.metadata
            )
        return exported(kind)

    return make


def thinned(model, *, keep=8):
    """A copy whose dense kernel keeps one weight in `keep`."""
    from tfcompress._keras import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    kernel, bias = copy.get_layer("logits").get_weights()
    mask = (np.arange(kernel.size) % keep == 0).reshape(kernel.shape)
    copy.get_layer("logits").set_weights([kernel * mask, bias])
    return copy


def outputs(data, inputs, *, kernels, batch):
    session = Session(data, batch=batch, kernels=kernels)
    return session.run(session.input_details.quantize(inputs[:batch]))


def step(found, name):
    return next(step for step in found.steps if step.name == name)


@pytest.mark.parametrize("kind", [*FORMATS, "sparse", "qat"])
def test_outputs_are_the_same_bit_for_bit(artifact_of, quadrants, kind):
    artifact = artifact_of(kind)
    found = minimize(artifact)
    for kernels in ("xnnpack", "builtin"):
        for batch in (1, 5, 64):
            expected, received = (
                outputs(file.data, quadrants.inputs, kernels=kernels, batch=batch)
                for file in (artifact, found.artifact)
            )
            assert received.dtype == expected.dtype
            np.testing.assert_array_equal(received, expected)
    assert found.refused == ()
    assert found.before is artifact
    assert sum(step.saved_bytes for step in found.steps) == found.saved_bytes
    # Names, signature and notes alone are over 1,000 bytes of such a file.
    assert found.saved_bytes == artifact.size_bytes - found.artifact.size_bytes > 1000


@pytest.mark.parametrize("kind", [*FORMATS, "sparse", "qat"])
def test_what_a_file_says_of_itself_stays(artifact_of, quadrants, kind, tmp_path):
    artifact = artifact_of(kind)
    found = Artifact.load(minimize(artifact).artifact.save(tmp_path / "a.tflite").path)
    assert found.metadata == artifact.metadata
    assert found.operators == artifact.operators
    assert found.integer_operators == artifact.integer_operators
    assert found.sparsity() == artifact.sparsity()
    assert found.predict(quadrants.images[:3]) == artifact.predict(quadrants.images[:3])
    counts = [list(file.distinct_weights().values()) for file in (artifact, found)]
    assert counts[0] == counts[1]
    for old, new in zip(artifact.weights().values(), found.weights().values(), strict=True):
        np.testing.assert_array_equal(old.values, new.values)
        np.testing.assert_array_equal(old.dequantize(), new.dequantize())


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_litert_s_other_interface_takes_it_too(exported, quadrants, kind, tmp_path):
    from ai_edge_litert.compiled_model import CompiledModel

    artifact = exported(kind)
    path = minimize(artifact).artifact.save(tmp_path / "a.tflite").path
    details = artifact.session().input_details
    image = details.quantize(quadrants.inputs[:1])
    with native_output.held([]):
        model = CompiledModel.from_file(str(path))
        inputs, results = model.create_input_buffers(0), model.create_output_buffers(0)
        inputs[0].write(image.reshape(-1))
        model.run_by_index(0, inputs, results)
        received = results[0].read(4, details.dtype.type)
    np.testing.assert_array_equal(received, artifact.session().run(image)[0])


def test_kernels_without_a_name_go_by_their_place(exported):
    found = minimize(exported("int8")).artifact.weights()
    model = flatbuffer.parse(minimize(exported("int8")).artifact.data, source="a")
    kernels = [op.inputs[1] for op in model.subgraphs[0].operators if len(op.inputs) == 3]
    assert list(found) == [f"#0.{index}" for index in kernels]
    dense = list(found.values())[-1]
    (output,) = model.subgraphs[0].outputs
    assert dense.used_by == f"FULLY_CONNECTED #0.{output}"


def test_a_minimal_file_stays_as_it_is(exported):
    once = minimize(exported("int8")).artifact
    again = minimize(once)
    assert again.artifact.data == once.data
    assert again.saved_bytes == 0


def test_a_minimal_file_takes_other_metadata(exported, quadrants):
    found = minimize(exported("int8")).artifact
    changed = found.with_metadata(found.metadata | {"labels": list("abcd")})
    assert {p.label for p in changed.predict(quadrants.images[:20])} <= set("abcd")
    assert minimize(changed).artifact.size_bytes <= found.size_bytes


def test_metadata_go_only_when_asked_for_and_the_loss_is_told(exported, quadrants):
    kept, found = minimize(exported("int8")), minimize(exported("int8"), metadata=False)
    assert found.artifact.metadata == {}
    assert found.artifact.size_bytes < kept.artifact.size_bytes
    assert "predict no longer works" in step(found, "own metadata").note
    with pytest.raises(ValueError, match="carries no 'preprocessing'"):
        found.artifact.predict(quadrants.images)
    np.testing.assert_array_equal(
        found.artifact.run(quadrants.inputs), kept.artifact.run(quadrants.inputs)
    )


def test_bias_scales_go_only_when_asked_for(exported, quadrants):
    kept = minimize(exported("int8")).artifact
    found = minimize(exported("int8"), bias_scales=False)
    # Of 8, 8 and 4 channels, 4 bytes each.
    assert step(found, "bias scales").saved_bytes >= 4 * (8 + 8 + 4)
    assert step(found, "bias scales").note == "3 layers, for processors only"
    np.testing.assert_array_equal(found.artifact.run(quadrants.inputs), kept.run(quadrants.inputs))


def test_equal_scales_become_one(quadrants):
    from tfcompress._keras import keras
    from tfcompress.export import convert

    model = keras.models.clone_model(quadrants.model)
    model.set_weights(quadrants.model.get_weights())
    kernel, bias = model.get_layer("logits").get_weights()
    # The greatest weight of each class is 1, and so is the range of its scale.
    model.get_layer("logits").set_weights([kernel / np.abs(kernel).max(axis=0), bias])
    found = minimize(convert(model, "int8", calibration=quadrants.inputs[:64]))
    assert step(found, "equal scales").note == "1 layers"
    # Three scales of the kernel, three of the bias, 4 bytes each; zero points may be shared.
    assert step(found, "equal scales").saved_bytes >= 2 * 3 * 4
    dense = list(found.artifact.weights().values())[-1]
    assert dense.scale.shape == dense.zero_point.shape == (1,)


def test_kernels_are_stored_sparse_when_asked_for(quadrants):
    from tfcompress.export import convert

    artifact = convert(thinned(quadrants.model), "float32", metadata=quadrants.metadata)
    plain, found = minimize(artifact), minimize(artifact, sparse=True)
    # 64 of 512 weights of 4 bytes stay, with an index of a byte; 5 beginnings of a byte.
    saved = 2048 - 64 * 5 - 5
    assert saved - 200 < plain.artifact.size_bytes - found.artifact.size_bytes < saved
    assert step(found, "sparse FULLY_CONNECTED").note == "1 kernels of FULLY_CONNECTED"
    assert step(found, "sparse CONV_2D").saved_bytes == 0
    dense = list(found.artifact.weights().values())[-1]
    assert dense.stored_sparse
    assert found.artifact.sparsity() == artifact.sparsity()
    np.testing.assert_array_equal(
        found.artifact.run(quadrants.inputs), artifact.run(quadrants.inputs)
    )


def test_what_litert_refuses_is_recorded_and_left_out(quadrants):
    from tfcompress.export import convert

    model = thinned(quadrants.model)
    artifact = convert(model, "int8", calibration=quadrants.inputs[:64])
    found = minimize(artifact, sparse=True)
    (refused,) = found.refused
    assert refused.name == "sparse FULLY_CONNECTED"
    assert refused.refused.startswith("LiteRT does not run it (failed to delegate FULLY_CONNECTED")
    assert refused.saved_bytes == 0
    assert found.artifact.data == minimize(artifact).artifact.data
    assert f"refused: {refused.refused}" in str(found)


def test_sparse_encodings_that_are_larger_are_undone(exported, monkeypatch):
    from tfcompress import sparse_encoding

    artifact = exported("float32")
    model = flatbuffer.parse(artifact.data, source="a")
    monkeypatch.setattr(sparse_encoding, "_is_smaller_sparse", lambda model, tensor: True)
    assert sparse_encoding.store_sparse(model, "FULLY_CONNECTED") == "1 kernels of FULLY_CONNECTED"
    widths = minimal_steps.element_widths(model)
    found = minimize(Artifact(compact.write(model, alignments=widths)))
    assert step(found, "large sparse encodings").note == "1 kernels"
    assert found.artifact.operators == artifact.operators
    # The kernel's tensor has another number, so other lists of tensors stand in one another.
    assert abs(found.artifact.size_bytes - minimize(artifact).artifact.size_bytes) < 20


def spoil_weights(model):
    kernel = max(model.buffers, key=lambda b: 0 if b.data is None else len(b.data))
    kernel.data = kernel.data[::-1].copy()
    return ""


def lose_shapes(model):
    for tensor in model.subgraphs[0].tensors:
        if tensor.shapeSignature is None:
            tensor.shape = None
    return ""


def lose_zero_points(model):
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization.zeroPoint = None
    return ""


def slow_down(model):
    """Without the quantization of a bias, XNNPACK leaves a convolution to other kernels."""
    for operator in model.subgraphs[0].operators:
        if len(operator.inputs) == 3:
            model.subgraphs[0].tensors[operator.inputs[2]].quantization = None
    return ""


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (spoil_weights, "the outputs differ with a batch of 1 and xnnpack kernels"),
        (lose_shapes, "LiteRT does not run it"),
        (lose_zero_points, "LiteRT does not run it .*null zero_point"),
        (slow_down, "other operators run, or in another engine"),
    ],
)
def test_a_step_that_changes_anything_is_not_taken(exported, monkeypatch, bad, said):
    artifact = exported("int8")
    expected = minimize(artifact)
    monkeypatch.setattr(minimal_steps, "STEPS", {"bad": bad} | dict(minimal_steps.STEPS))
    found = minimize(artifact)
    (refused,) = found.refused
    assert refused.name == "bad"
    assert re.search(said, refused.refused)
    assert found.artifact.data == expected.artifact.data


def test_a_step_that_saves_nothing_is_told(exported, monkeypatch):
    def lengthen(model):
        model.description = "long" * 10
        return ""

    monkeypatch.setattr(minimal_steps, "STEPS", {"bad": lengthen})
    found = minimize(exported("int8"))
    assert step(found, "bad") == MinimalStep("bad", note="the file would not get smaller")


def test_a_file_that_cannot_be_written_so_is_refused(exported, monkeypatch):
    write = compact.write

    def broken(model, *, alignments):
        spoil_weights(model)
        return write(model, alignments=alignments)

    monkeypatch.setattr(compact, "write", broken)
    with pytest.raises(MinimalError, match=r"cannot be written compactly: the outputs differ"):
        minimize(exported("int8"))


def test_the_last_check_is_on_batches_too(exported, monkeypatch):
    reference = minimal._Reference.difference

    def strict(self, data, *, thorough=False):
        return "the outputs differ" if thorough else reference(self, data)

    monkeypatch.setattr(minimal._Reference, "difference", strict)
    with pytest.raises(MinimalError, match="is not the same: the outputs differ"):
        minimize(exported("int8"))


def test_a_file_too_large_for_a_flatbuffer_is_refused(exported, monkeypatch):
    artifact = exported("int8")
    monkeypatch.setattr(flatbuffer, "LARGEST_FILE", len(artifact.data) - 1)
    with pytest.raises(MinimalError, match=r"takes [\d,]+ bytes\. Expected at most"):
        minimize(artifact)


def test_kernels_of_a_type_that_cannot_be_read(exported, monkeypatch):
    readable = {name: kind for name, kind in flatbuffer._DTYPES.items() if name != "INT8"}
    artifact = exported("int8")
    expected = minimize(artifact)
    monkeypatch.setattr(flatbuffer, "_DTYPES", readable)
    found = minimize(Artifact(artifact.data), sparse=True)
    # As wide as any element may be, for all that is known.
    assert 0 <= found.artifact.size_bytes - expected.artifact.size_bytes < 100
    assert found.refused == ()


def test_metadata_that_litert_or_a_user_reads_stay(exported):
    model = flatbuffer.parse(exported("float16").data, source="a")
    names = {flatbuffer.text(entry.name) for entry in model.metadata}
    assert names == {
        "min_runtime_version",
        "reduced_precision_support",
        "CONVERSION_METADATA",
        "tfcompress",
    }
    flatbuffer.set_metadata(model, "mine", b"kept")
    found = minimize(Artifact(flatbuffer.write_metadata(model, "mine", b"kept")))
    model = flatbuffer.parse(found.artifact.data, source="a")
    names = [flatbuffer.text(entry.name) for entry in model.metadata]
    assert names == ["reduced_precision_support", "tfcompress", "mine"]
    assert flatbuffer.read_metadata(model, "mine") == b"kept"
    note = step(found, "notes of the converter").note
    assert note == "min_runtime_version, CONVERSION_METADATA"


def test_tensors_that_nothing_uses_are_dropped(exported, quadrants):
    artifact = exported("int8")
    model = flatbuffer.parse(artifact.data, source="a")
    graph = model.subgraphs[0]
    count = len(graph.tensors)
    # In front, so that every number in the file changes.
    graph.tensors = [graph.tensors[0], *graph.tensors]
    for operator in graph.operators:
        operator.inputs, operator.outputs = operator.inputs + 1, operator.outputs + 1
    graph.inputs, graph.outputs = graph.inputs + 1, graph.outputs + 1
    model.signatureDefs = None
    longer = Artifact(flatbuffer.write_metadata(model, "a", b"{}"))
    found = minimize(longer).artifact
    assert len(flatbuffer.parse(found.data, source="a").subgraphs[0].tensors) == count
    np.testing.assert_array_equal(found.run(quadrants.inputs), artifact.run(quadrants.inputs))


def test_the_table_as_text(exported):
    artifact = exported("int8")
    steps = (
        MinimalStep("layout", 1500),
        MinimalStep("own metadata", 80, note="gone"),
        MinimalStep("sparse", refused="no kernel"),
    )
    found = replace(minimize(artifact), steps=steps)
    lines = str(found).splitlines()
    assert lines[0].split() == ["before", f"{artifact.size_bytes:,}"]
    assert lines[1:4] == [
        "layout              -1,500",
        "own metadata           -80  gone",
        "sparse                   0  refused: no kernel",
    ]
    assert lines[4].split() == ["after", f"{found.artifact.size_bytes:,}"]


def test_the_names_of_the_package():
    assert tfcompress.minimize is minimize
    assert tfcompress.byte_table.__name__ == "byte_table"
    assert issubclass(tfcompress.MinimalError, ValueError)
