"""A text encoder from start to end: fine-tuned, compressed, exported, judged, used."""

import numpy as np
import pytest

from tfcompress import backbones, data, evaluate, export, finished_run, results, workflow
from tfcompress.artifact import Artifact
from tfcompress.backbones import BackboneConfig, TextConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig, TransferConfig
from tfcompress.data import DataConfig, pipeline
from tfcompress.export import ExportConfig
from tfcompress.goals import Classes
from tfcompress.predictions import Predictions
from tfcompress.tokenization import Tokenization, Tokenizer, TokenizerError
from tfcompress.training import TrainingConfig

RECIPES = ("prune(0.5)", "cluster(4)", "factorize(energy=0.4)")
INTEGERS = ("ptq(rounding=nearest)", "prune(0.5)+qat", "cluster(4)+qat")
FORMATS = ("float32", "dynamic", "int8")


def settings(table, encoder, **changed):
    return {
        "data": DataConfig(name=f"text:{table}", task="text", calibration_size=32),
        "backbone": TextConfig(name=f"encoder:{encoder}", sequence_length=8, pooling="mean"),
        "training": TrainingConfig(epochs=8, batch_size=16, learning_rate=1e-2),
        "stage_training": StageTrainingConfig(epochs=1),
        "export": ExportConfig(formats=FORMATS),
        "latency": LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
        **changed,
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reviews, tiny_encoder):
    folder = tmp_path_factory.mktemp("run")
    config = RunConfig(recipes=(*RECIPES, *INTEGERS), **settings(reviews, tiny_encoder))
    return workflow.run(config, folder), folder, config


def test_every_file_is_judged_on_the_held_out_fifth(finished):
    found, folder, config = finished
    assert results.load(folder) == found
    assert (found.data.source, found.data.classes) == ("text", ("down", "up"))
    assert found.data.split_sizes["test"] == 64
    expected = {f"{m}-{f}" for m in ("baseline", "prune", "cluster", "factorize") for f in FORMATS}
    expected |= {f"{title}-int8" for title in config.titles[len(RECIPES) :]}
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


def test_recipes_leave_what_they_promise_in_the_files(finished):
    rows = {row.name: row for row in finished[0].artifacts}
    assert rows["prune-float32"].sparsity == pytest.approx(0.5, abs=0.01)
    assert rows["cluster-float32"].distinct_weights <= 4
    before, after = rows["baseline-float32"], rows["factorize-float32"]
    assert after.parameters < before.parameters
    assert after.macs < before.macs


def test_an_int8_file_keeps_ids_of_tokens_and_their_mask_alone_from_integers_with_a_scale(finished):
    artifact = Artifact.load(finished[1] / "artifacts" / "baseline-int8.tflite")
    session = artifact.session()
    assert session.input_details.dtype == np.int32
    assert session.output_details.dtype == np.int8
    left = [operator.name for operator in artifact.operators if not operator.integer]
    assert sorted(left) == ["CAST", "QUANTIZE"]
    assert artifact.integer_operators == len(artifact.operators) - 2


def test_integer_files_are_what_their_models_are(finished):
    found, folder, config = finished
    rows = {row.name: row for row in found.artifacts}
    for title in config.titles[len(RECIPES) :]:
        row = rows[f"{title}-int8"]
        assert row.parity.top1_agreement > 0.99
        assert abs(row.difference) < 0.1
        assert row.integer_operators < row.operators
        stored = Artifact.load(folder / row.path).weights().values()
        assert {weight.values.dtype for weight in stored} == {np.dtype(np.int8)}
    assert rows[f"{config.titles[len(RECIPES) + 1]}-int8"].sparsity > 0.4


def test_a_file_reads_texts_with_the_tokenizer_beside_it(finished, reviews):
    found, folder, config = finished
    artifact = Artifact.load(folder / "artifacts" / "baseline-float32.tflite")
    assert isinstance(artifact.preprocessing, Tokenization)
    (prediction,) = artifact.predict("the film is GREAT")
    assert prediction.label == "up"
    assert [p.label for p in artifact.predict(["a dull plot", "a fine plot"])] == ["down", "up"]
    assert artifact.predict([]) == []
    tokenizer = Tokenizer.from_file(folder / "artifacts" / "tokenizer.json")
    dataset = data.load(config.data, tokenize=lambda texts: tokenizer.token_ids(texts, length=8))
    stored = Predictions.load(folder / found.artifacts[0].predictions)
    again = evaluate.predict_artifact(artifact, dataset)
    np.testing.assert_array_equal(again.outputs, stored.outputs)


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
        artifact.run(np.full([1, 8], 20, np.int32))
    with pytest.raises(ValueError, match=r"ids of tokens, int32. Received: float32"):
        artifact.run(np.zeros([1, 8], np.float32))


def test_a_finished_run_goes_on_with_its_own_tokenizer(finished):
    found = finished_run.load(finished[1])
    assert found.dataset.example_shape == (8,)


def test_the_report_speaks_of_texts(finished):
    report = (finished[1] / "report.md").read_text(encoding="utf-8")
    assert "8 ids of tokens, of 20" in report
    assert "test texts" in report
    settings_of_images = ("| data.image", "| training.augmentation")
    lines = [line for line in report.splitlines() if not line.startswith(settings_of_images)]
    assert not [line for line in lines if "image" in line.lower()]


@pytest.mark.slow
def test_the_head_alone_trains_on_texts_that_are_encoded_once(tmp_path, reviews, tiny_encoder):
    mean = TextConfig(name=f"encoder:{tiny_encoder}", sequence_length=8, pooling="mean")
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
    export = ExportConfig(formats=("float32",))
    found = workflow.run(RunConfig(**settings(table, tiny_encoder, export=export)), tmp_path / "r")
    assert found.data.targets == ("stars",)
    (prediction,) = Artifact.load(tmp_path / "r/artifacts/baseline-float32.tflite").predict(
        "a good film"
    )
    assert 3 < prediction.value < 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone": BackboneConfig(name="lenet5")}, "is of texts. Received: lenet5, which takes"),
        ({"data": DataConfig(name="mnist_sample")}, "reads texts. Received: data set 'mnist_samp"),
        ({"recipes": ("distill(student=resnet8)",)}, "brings a student that takes images"),
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
