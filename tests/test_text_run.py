"""A text encoder from start to end: fine-tuned, compressed, exported, judged, used."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from experiments import minimize
from tfcompress import (
    backbones,
    byte_counts,
    data,
    evaluate,
    export,
    file_cost,
    finished_run,
    litert,
    minimal,
    probe,
    results,
    workflow,
)
from tfcompress.artifact import Artifact
from tfcompress.backbones import BackboneConfig, TextConfig
from tfcompress.benchmark import LatencyConfig, comparing
from tfcompress.benchmark.comparing import BenchmarkConfig
from tfcompress.config import RunConfig, StageTrainingConfig, TransferConfig
from tfcompress.data import DataConfig, pipeline
from tfcompress.export import ExportConfig
from tfcompress.goals import Classes
from tfcompress.predictions import Predictions
from tfcompress.studies import quantization, robustness, tfmot_comparison, training_cost
from tfcompress.tokenization import Tokenization
from tfcompress.tokenizer import Tokenizer, TokenizerError
from tfcompress.training import TrainingConfig

STUDENT = "distill(student=encoder, student_layers=1, features=1, attention=1, learning_rate=0.01)"
HEADS = "prune_channels(0.3, importance=taylor)+prune(0.5)"
RECIPES = (
    "prune(0.5)",
    "cluster(4)",
    "factorize(energy=0.4)",
    f"{STUDENT}+float32",
    f"{HEADS}+float32",
)
INTEGERS = ("ptq(rounding=nearest)", "prune(0.5)+qat", "cluster(4)+qat")
FORMATS = ("float32", "dynamic", "int8")
LENGTH_FORMATS = ("float32", "int8")
OF_LENGTHS = (
    f"{STUDENT}+trim_vocabulary+float32",
    "prune_channels(0.3)+factorize(energy=0.4, of=parameters)+dynamic",
    "trim_vocabulary+qat",
)


def settings(table, encoder, **changed):
    return {
        "data": DataConfig(name=f"text:{table}", task="text", calibration_size=32),
        "backbone": TextConfig(name=f"encoder:{encoder}", sequence_length=12, pooling="mean"),
        "training": TrainingConfig(epochs=8, batch_size=16, learning_rate=1e-2),
        "stage_training": StageTrainingConfig(epochs=1),
        "export": ExportConfig(formats=FORMATS),
        "latency": LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
        **changed,
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reviews, tiny_encoder):
    folder = tmp_path_factory.mktemp("run")
    config = RunConfig(recipes=RECIPES, **settings(reviews, tiny_encoder))
    return workflow.run(config, folder), folder, config


@pytest.fixture(scope="module")
def of_lengths(tmp_path_factory, reviews, tiny_encoder):
    """A run whose files take texts of 4 and of 10 tokens."""
    folder = tmp_path_factory.mktemp("lengths")
    changed = settings(
        reviews,
        tiny_encoder,
        export=ExportConfig(formats=LENGTH_FORMATS),
        recipes=OF_LENGTHS,
    )
    changed["backbone"] = dataclasses.replace(
        changed["backbone"], sequence_length=10, shorter_lengths=(4,)
    )
    return workflow.run(RunConfig(**changed), folder), folder


def test_a_file_of_several_lengths_agrees_with_the_keras_model_at_each(of_lengths):
    found, folder = of_lengths
    assert sum(found.data.test_by_length.values()) == 64
    assert list(found.data.test_by_length) == ["4", "10"]
    for row in found.artifacts:
        assert [parity.length for parity in row.shorter_parity] == [4]
        for parity in (row.parity, *row.shorter_parity):
            assert parity.top1_agreement > 0.9
            if row.format == "float32":
                assert parity.max_difference < 1e-4
        names = [f"litert_cpu(length={length})" for length in (10, 4)]
        assert [latency.runtime for latency in row.latency_ms] == names
    # Float files say the same at the shortest length as at the greatest.
    row = next(row for row in found.artifacts if row.format == "float32")
    artifact = Artifact.load(folder / row.path)
    assert artifact.lengths == (4, 10)
    ids = np.array([[2, 7, 3, *[0] * 7], [2, *range(4, 12), 3]], np.int32)
    (first, short), (second, whole) = artifact.by_length(ids)
    assert (first.tolist(), short, second.tolist(), whole) == ([0], 4, [1], 10)
    whole_outputs = artifact.run(ids)
    np.testing.assert_allclose(artifact.run(ids[:1, :4]), whole_outputs[:1], atol=1e-5)
    for length in artifact.lengths:
        counted = file_cost.count(artifact.data, source="it", length=length).macs
        assert counted == row.macs if length == 10 else counted < row.macs
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "Lengths of texts" in report
    with pytest.raises(ValueError, match=r"int32 \[batch, 4 or 10\]. Received: int32 \[2, 5\]"):
        artifact.run(ids[:, :5])


def test_outputs_of_other_lengths_are_not_compared(of_lengths):
    path = str(of_lengths[1] / "artifacts" / "baseline-float32.tflite")
    runtimes = ("litert_cpu(length=10)", "litert_cpu(length=10, kernels=builtin)")
    asked = BenchmarkConfig(
        artifacts=(path,),
        runtimes=(*runtimes, "litert_cpu(length=4)"),
        rounds=1,
        min_runs=2,
        min_seconds=0.0,
    )
    _, same, other = comparing.run(asked).benchmark.rows
    assert same.outputs.greatest < 1e-4
    assert other.outputs is None
    # Its time is compared all the same.
    assert other.runtime_ratio is not None


def test_a_minimal_file_takes_all_lengths_still(of_lengths):
    artifact = Artifact.load(of_lengths[1] / "artifacts" / "baseline-int8.tflite")
    made = minimal.minimize(artifact)
    assert not made.refused
    ids = np.array([[2, 7, 3, *[0] * 7]], np.int32)
    for given in (ids, ids[:, :4]):
        np.testing.assert_array_equal(made.artifact.run(given), artifact.run(given))


@pytest.mark.parametrize("name", LENGTH_FORMATS)
def test_texts_of_all_lengths_are_answered_in_their_order(of_lengths, name):
    artifact = Artifact.load(of_lengths[1] / "artifacts" / f"baseline-{name}.tflite")
    texts = ["great", "the plot is bad and the film is dull", "a fine film", "awful"]
    together = artifact.predict(texts)
    for text, prediction in zip(texts, together, strict=True):
        (alone,) = artifact.predict(text)
        assert alone.label == prediction.label
        assert alone.probability == pytest.approx(prediction.probability, abs=1e-6)
    assert artifact.predict([]) == []


@pytest.mark.parametrize("name", FORMATS)
def test_minimal_files_answer_texts_alike_with_the_tokenizer_beside_them(finished, tmp_path, name):
    source = finished[1] / "artifacts" / f"prune-{name}.tflite"
    artifact = Artifact.load(source)
    made = minimal.minimize(artifact, sparse=True)
    assert made.artifact.size_bytes < artifact.size_bytes
    table = byte_counts.byte_table(made.artifact)
    assert table.raw == made.artifact.size_bytes
    minimize.take_tokenizer(artifact, tmp_path)
    smaller = made.artifact.save(tmp_path / source.name)
    texts = ["a fine film", "the plot is bad and not great"]
    assert smaller.predict(texts) == artifact.predict(texts)
    # That of another model has the usual name.
    (tmp_path / "tokenizer.json").write_text("{}")
    minimize.take_tokenizer(artifact, tmp_path)
    assert smaller.predict(texts) == artifact.predict(texts)


def test_a_file_of_several_lengths_can_be_made_minimal_and_must_be_told_a_length(of_lengths):
    folder = of_lengths[1]
    artifact = Artifact.load(folder / "artifacts" / "baseline-int8.tflite")
    smaller = minimal.minimize(artifact).artifact
    assert smaller.size_bytes < artifact.size_bytes
    assert smaller.lengths == artifact.lengths
    with pytest.raises(
        ValueError, match=r"-1 is open.*Say the size, as in litert_cpu\(length=32\)"
    ):
        litert.Session(artifact.data)


def test_a_file_of_one_length_takes_no_other(finished):
    artifact = Artifact.load(finished[1] / "artifacts" / "baseline-float32.tflite")
    assert artifact.lengths == ()
    with pytest.raises(ValueError, match=r"no input of an open size but the batch.*length 4"):
        artifact.session(length=4)


def test_every_file_is_judged_on_the_held_out_fifth(finished):
    found, folder, _ = finished
    assert results.load(folder) == found
    assert (found.data.source, found.data.classes) == ("text", ("down", "up"))
    assert found.data.split_sizes["test"] == 64
    expected = {f"{m}-{f}" for m in ("baseline", "prune", "cluster", "factorize") for f in FORMATS}
    expected |= {"distill-float32", "prune_channels+prune-float32"}
    assert {row.name for row in found.artifacts} == expected
    assert found.baseline.accuracy > 0.9
    for row in found.artifacts:
        assert Predictions.load(folder / row.predictions).outputs.shape == (64, 2)


def test_files_agree_with_the_keras_model(finished):
    rows = {row.name: row for row in finished[0].artifacts}
    assert rows["baseline-float32"].parity.max_difference < 1e-4
    assert rows["baseline-int8"].parity.top1_agreement > 0.9
    for name in FORMATS:
        assert abs(rows[f"baseline-{name}"].difference) < 0.1


def test_files_cost_what_the_model_of_their_layers_costs(finished):
    rows = {row.name: row for row in finished[0].artifacts}
    for recipe in ("baseline", "prune", "factorize"):
        for name in FORMATS:
            data = (finished[1] / rows[f"{recipe}-{name}"].path).read_bytes()
            assert file_cost.count(data, source=name).macs == rows[f"{recipe}-{name}"].macs
    # Width 8 and 12 within at 12 tokens in two layers, scores and context of 12 by 12 by 8 each;
    # the mean over the tokens, and two classes.
    kernels, products = 12 * (4 * 8 * 8 + 2 * 8 * 12), 2 * 12 * 12 * 8
    assert rows["baseline-float32"].macs == 2 * (kernels + products) + 12 * 8 + 8 * 2


def test_recipes_leave_what_they_promise_in_the_files(finished):
    rows = {row.name: row for row in finished[0].artifacts}
    assert rows["prune-float32"].sparsity == pytest.approx(0.5, abs=0.01)
    assert rows["cluster-float32"].distinct_weights <= 4
    before, after = rows["baseline-float32"], rows["factorize-float32"]
    assert after.parameters < before.parameters
    assert after.macs < before.macs


def test_a_student_of_fewer_layers_is_a_smaller_file(finished):
    rows = {row.name: row for row in finished[0].artifacts}
    before, after = rows["baseline-float32"], rows["distill-float32"]
    assert after.accuracy > 0.8
    assert after.parameters < before.parameters
    assert after.size_bytes < before.size_bytes
    # Four products of attention and two of the feed-forward part, for each of 12 tokens.
    assert before.macs - after.macs >= 12 * (4 * 8 * 8 + 2 * 8 * 12)


def test_heads_and_units_are_gone_from_the_files(finished):
    found, folder, _ = finished
    rows = {row.name: row for row in found.artifacts}
    before, after = (rows[f"{name}-float32"] for name in ("baseline", "prune_channels+prune"))
    assert after.macs <= 0.7 * before.macs
    assert after.size_bytes < before.size_bytes
    assert after.sparsity == pytest.approx(0.5, abs=0.02)
    assert "1 of 2 heads" in (folder / "report.md").read_text(encoding="utf-8")


def test_heads_are_among_what_a_text_encoder_is_sensitive_to(finished):
    run = finished_run.load(finished[1])
    split = run.dataset.validation
    found = probe.sensitivity(
        run.baseline,
        run.preprocessing.apply(split.examples),
        split.labels,
        kinds=["channels"],
        levels={"channels": [0.5]},
    )
    parts = {"query+{0}/key+{0}/value": "attention", "inner": "feed_forward"}
    assert {effect.name for effect in found.effects} == {
        f"{layer}/{name.format(layer)}"
        for layer in (f"layer_{number}/{part}" for number in (0, 1) for part in parts.values())
        for name, part in parts.items()
        if layer.endswith(part)
    }


def test_an_int8_file_keeps_ids_of_tokens_and_their_mask_alone_from_integers_with_a_scale(finished):
    artifact = Artifact.load(finished[1] / "artifacts" / "baseline-int8.tflite")
    session = artifact.session()
    assert session.input_details.dtype == np.int32
    assert session.output_details.dtype == np.int8
    left = [operator.name for operator in artifact.operators if not operator.integer]
    assert sorted(left) == ["CAST", "QUANTIZE"]
    assert artifact.integer_operators == len(artifact.operators) - 2


@pytest.mark.slow
def test_integer_files_are_what_their_models_are(tmp_path, reviews, tiny_encoder):
    changed = settings(reviews, tiny_encoder, export=ExportConfig(formats=("int8",)))
    config = RunConfig(recipes=INTEGERS, **changed)
    found = workflow.run(config, tmp_path / "run")
    rows = {row.name: row for row in found.artifacts}
    ptq, pruned, clustered = (rows[f"{title}-int8"] for title in config.titles)
    for row in (ptq, pruned, clustered):
        assert row.parity.top1_agreement > 0.99
        assert abs(row.difference) < 0.1
        assert row.integer_operators < row.operators
        artifact = Artifact.load(tmp_path / "run" / row.path)
        stored = artifact.weights().values()
        assert {weight.values.dtype for weight in stored} == {np.dtype(np.int8)}
    assert pruned.sparsity > 0.4
    (prediction,) = artifact.predict("the film is GREAT")
    assert prediction.label == "up"


def test_a_file_reads_texts_with_the_tokenizer_beside_it(finished, reviews):
    found, folder, config = finished
    artifact = Artifact.load(folder / "artifacts" / "baseline-float32.tflite")
    assert isinstance(artifact.preprocessing, Tokenization)
    (prediction,) = artifact.predict("the film is GREAT")
    assert prediction.label == "up"
    assert [p.label for p in artifact.predict(["a dull plot", "a fine plot"])] == ["down", "up"]
    assert artifact.predict([]) == []
    tokenizer = Tokenizer.from_file(folder / "artifacts" / "tokenizer.json")
    dataset = data.load(config.data, tokenize=lambda texts: tokenizer.token_ids(texts, length=12))
    stored = Predictions.load(folder / found.artifacts[0].predictions)
    again = evaluate.predict_artifact(artifact, dataset)
    np.testing.assert_array_equal(again.outputs, stored.outputs)


def test_a_finished_run_can_be_opened_by_another_program(finished):
    """Which has not built an encoder, so that Keras knows none of its layers yet."""
    code = "import sys; from tfcompress import finished_run; finished_run.load(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(finished[1])], check=True)


@pytest.mark.parametrize(
    "changed",
    [{"recipes": ("prune(0.5)+int16x8",)}, {"export": ExportConfig(formats=("int16x8",))}],
    ids=["recipe", "export"],
)
def test_a_format_that_texts_do_not_have_is_refused_before_any_training(
    reviews, tiny_encoder, tmp_path, changed
):
    config = RunConfig(**settings(reviews, tiny_encoder, **changed))
    with pytest.raises(export.ExportError, match="as text encoders do, it makes no int16x8 file"):
        workflow.run(config, tmp_path / "run")
    assert not list((tmp_path / "run").glob("stages/*/best*"))


def test_another_tokenizer_is_refused(finished, tmp_path):
    source = finished[1] / "artifacts"
    artifact = Artifact.load(source / "baseline-int8.tflite")
    with pytest.raises(TokenizerError, match="was not saved yet"):
        Artifact(artifact.data).predict("a film")
    moved = artifact.save(tmp_path / "x.tflite")
    with pytest.raises(TokenizerError, match="There is no tokenizer's file"):
        moved.predict("a film")
    content = (source / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(content.replace("awful", "lovely"))
    with pytest.raises(TokenizerError, match=r"is not the tokenizer .* Expected SHA-256"):
        moved.predict("a film")
    with pytest.raises(ValueError, match=r"takes a text or a list of texts. Received: ndarray"):
        moved.predict(np.zeros([4, 4, 1], np.uint8))


def test_ids_that_are_none_of_the_table_are_refused(finished):
    artifact = Artifact.load(finished[1] / "artifacts" / "baseline-float32.tflite")
    with pytest.raises(ValueError, match=r"from 0 to 19. Received: 20 to 20"):
        artifact.run(np.full([1, 12], 20, np.int32))
    with pytest.raises(ValueError, match=r"ids of tokens, int32. Received: float32"):
        artifact.run(np.zeros([1, 12], np.float32))


def test_a_finished_run_goes_on_with_its_own_tokenizer(finished):
    found = finished_run.load(finished[1])
    assert found.dataset.example_shape == (12,)


def test_sensitivity_takes_texts(finished):
    found = finished_run.load(finished[1])
    split = found.dataset.validation
    levels = {"sparsity": [0.5], "bits": [4], "rank": [0.5]}
    sensitivity = probe.sensitivity(
        found.baseline, split.examples, split.labels, kinds=tuple(levels), levels=levels
    )
    names = {effect.name for effect in sensitivity.effects if effect.kind == "sparsity"}
    assert {"layer_0/attention/query", "layer_1/feed_forward/outer", "logits"} <= names
    assert {effect.kind for effect in sensitivity.effects} == set(levels)


@pytest.mark.parametrize(
    "study",
    [
        lambda run, out: quantization.study(run, quantization.StudyConfig(), out),
        lambda run, out: tfmot_comparison.compare(run, tfmot_comparison.ComparisonConfig(), out),
        lambda run, out: robustness.judge(run, robustness.RobustnessConfig(), out),
    ],
    ids=["quantization", "tfmot_comparison", "robustness"],
)
def test_studies_of_images_refuse_a_run_on_texts_before_any_work(finished, tmp_path, study):
    with pytest.raises(ValueError, match=r"takes the run of a network for images. Received: text:"):
        study(finished[1], tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_the_cost_of_training_takes_images(reviews):
    with pytest.raises(ValueError, match=r"The cost of training takes images. Received: data set"):
        training_cost.TrainingCostConfig(data=DataConfig(name=f"text:{reviews}"))


def test_the_report_speaks_of_texts(finished):
    report = (finished[1] / "report.md").read_text(encoding="utf-8")
    assert "12 ids of tokens, of 20" in report
    assert "test texts" in report
    settings_of_images = ("| data.image", "| training.augmentation", "| technique.student")
    lines = [line for line in report.splitlines() if not line.startswith(settings_of_images)]
    assert not [line for line in lines if "image" in line.lower()]


@pytest.mark.slow
def test_the_head_alone_trains_on_texts_that_are_encoded_once(tmp_path, reviews, tiny_encoder):
    mean = TextConfig(name=f"encoder:{tiny_encoder}", sequence_length=12, pooling="mean")
    config = RunConfig(
        **settings(
            reviews,
            tiny_encoder,
            backbone=mean,
            transfer=TransferConfig(mode="linear_probe"),
            export=ExportConfig(formats=("float32",)),
            training=TrainingConfig(epochs=20, batch_size=16, learning_rate=2e-2),
        )
    )
    found = workflow.run(config, tmp_path / "run")
    assert found.baseline.accuracy > 0.7


@pytest.mark.slow
def test_a_regression_of_texts(tmp_path, tiny_encoder):
    generator = np.random.default_rng(0)
    stars = generator.uniform(1, 5, 200)
    rows = (f"a {'good' if s > 3 else 'bad'} film,{s:.2f}" for s in stars)
    table = tmp_path / "stars.csv"
    table.write_text("text,stars\n" + "\n".join(rows) + "\n")
    recipe = "distill(student=encoder, student_layers=1, features=1, epochs=4, learning_rate=0.01)"
    changed = {"export": ExportConfig(formats=("float32",)), "recipes": (recipe,)}
    found = workflow.run(RunConfig(**settings(table, tiny_encoder, **changed)), tmp_path / "r")
    assert found.data.targets == ("stars",)
    for name in ("baseline", "distill"):
        artifact = Artifact.load(tmp_path / f"r/artifacts/{name}-float32.tflite")
        (prediction,) = artifact.predict("a good film")
        assert 3 < prediction.value < 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone": BackboneConfig(name="lenet5")}, "is of texts. Received: lenet5, which takes"),
        ({"data": DataConfig(name="mnist_sample")}, "reads texts. Received: data set 'mnist_samp"),
        ({"recipes": ("distill(student=resnet8)",)}, "brings a student that takes images"),
        ({"recipes": ("distill(student=none_such)",)}, "for texts encoder, a smaller one of the"),
        (
            {"recipes": ("distill(student=minilm_l6, student_width=0.5)",)},
            "has the sizes that it was published with. Received: student_width 0.5",
        ),
        (
            {"recipes": ("distill(student=encoder:nowhere)",)},
            "a folder that is there. Received: 'encoder:nowhere'",
        ),
        (
            {"recipes": ("distill(student=encoder, student_layers=3)",)},
            "from 1 to 2 layers, those of the larger one. Received: 3",
        ),
        (
            {"recipes": ("distill(student=encoder, student_width=0.7)",)},
            "whole heads of the larger one's width, 4, and at most its 2",
        ),
        (
            {"training": TrainingConfig(augmentation=pipeline.AugmentationConfig(flip=True))},
            "Augmentation changes images. Received: flip=True, for texts",
        ),
        ({"transfer": TransferConfig(mode="none")}, "--transfer=none with the backbone encoder:"),
    ],
)
def test_what_texts_do_not_have_is_refused_before_any_work(reviews, tiny_encoder, changed, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(**settings(reviews, tiny_encoder, **changed))


@pytest.mark.parametrize("student", ["encoder, student_layers=1", "minilm_l6"])
def test_students_that_take_texts_are_refused_for_images(student):
    with pytest.raises(ValueError, match=r"brings a student that takes texts\. Received: images"):
        RunConfig(
            data=DataConfig(name="mnist_sample"),
            backbone=BackboneConfig(name="lenet5"),
            recipes=(f"distill(student={student})",),
        )


def test_random_weights_have_no_linear_probe(reviews, tiny_encoder):
    random = TextConfig(name=f"encoder:{tiny_encoder}", sequence_length=8, weights="none")
    probe = TransferConfig(mode="linear_probe")
    with pytest.raises(ValueError, match="needs pretrained weights"):
        RunConfig(**settings(reviews, tiny_encoder, backbone=random, transfer=probe))


def test_a_file_that_would_end_the_process_is_refused(tiny_encoder):
    source = backbones.opened(TextConfig(name=f"encoder:{tiny_encoder}", sequence_length=8))
    goal = Classes(("down", "up"))
    model = source.build_model(goal=goal, image_shape=(8,), seed=0, keep_head=False)
    whole = source.tokenize(["the good plot is not very bad and dull"] * 4).ids
    with pytest.raises(export.ExportError, match=r"ends the process .* no padding are the usual"):
        export.convert(model, "int8", calibration=whole)
    ready = source.preprocessing(()).for_calibration(whole)
    assert export.convert(model, "int8", calibration=ready).integer_operators > 50
