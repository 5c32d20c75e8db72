"""Runs whose recipes take tokens away: texts cut up anew, files with a tokenizer of their own."""

import json
import shutil

import numpy as np
import pytest

from tfcompress import results, workflow
from tfcompress.artifact import Artifact
from tfcompress.backbones import BackboneConfig, TextConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.predictions import Predictions
from tfcompress.tokenizer import TokenizerError
from tfcompress.training import TrainingConfig

TRIMMED = "trim_vocabulary"


def settings(table, encoder, **changed):
    return RunConfig(
        **{
            "data": DataConfig(name=f"text:{table}", task="text", calibration_size=32),
            "backbone": TextConfig(name=f"encoder:{encoder}", sequence_length=8, pooling="mean"),
            "training": TrainingConfig(epochs=4, batch_size=16, learning_rate=1e-2),
            "stage_training": StageTrainingConfig(epochs=1),
            "recipes": (TRIMMED,),
            "export": ExportConfig(formats=("float32",), minimal=True),
            "latency": LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
            **changed,
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reviews, tiny_encoder):
    folder = tmp_path_factory.mktemp("run")
    config = settings(reviews, tiny_encoder)
    return workflow.run(config, folder), folder, config


def test_no_output_changes_where_the_texts_have_all_tokens_that_stay(finished):
    found, folder, _ = finished
    rows = {row.name: row for row in (found.baseline, *found.models, *found.artifacts)}
    assert found.baseline.accuracy > 0.8
    whole, trimmed = (
        Predictions.load(folder / rows[name].predictions) for name in ("baseline", TRIMMED)
    )
    np.testing.assert_array_equal(trimmed.outputs, whole.outputs)
    # 20 words but for ".", "not" and "and"; 16 positions of which a text has 8.
    assert rows["baseline"].parameters - rows[TRIMMED].parameters == 3 * 8 + 8 * 8
    before, after = rows["baseline-float32"], rows[f"{TRIMMED}-float32"]
    assert before.size_bytes - after.size_bytes >= (3 * 8 + 8 * 8) * 4


def test_the_report_says_how_many_rows_stayed(finished):
    found, folder, _ = finished
    report = next(stage for stage in found.stages if stage.technique == TRIMMED).report
    details = {layer.name: layer.detail for layer in report.layers if layer.treated}
    assert details == {
        "embeddings/words": "17 of 20 tokens",
        "embeddings/positions": "8 of 16 positions",
    }
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "17 of 20 tokens" in page
    assert "reads no ids of tokens" in page


def test_each_file_reads_texts_with_its_own_tokenizer(finished, tmp_path):
    folder = finished[1] / "artifacts"
    whole = Artifact.load(folder / "baseline-float32.tflite")
    trimmed = Artifact.load(folder / f"{TRIMMED}-float32.tflite")
    assert (whole.preprocessing.vocabulary, trimmed.preprocessing.vocabulary) == (20, 17)
    texts = ["the film is great", "a dull plot"]
    for one, other in zip(whole.predict(texts), trimmed.predict(texts), strict=True):
        assert one.label == other.label
        assert one.probability == pytest.approx(other.probability, abs=1e-5)
    own = f"tokenizer-{trimmed.preprocessing.tokenizer_sha256[:8]}.json"
    names = {path.name for path in folder.glob("tokenizer*")}
    assert names == {"tokenizer.json", own}
    assert len(json.loads((folder / own).read_text())["model"]["vocab"]) == 17
    # On its own a file may have it under the plain name.
    moved = trimmed.save(tmp_path / "x.tflite")
    shutil.copy(folder / own, tmp_path / "tokenizer.json")
    assert moved.predict(texts[0])[0].label == whole.predict(texts[0])[0].label
    shutil.copy(folder / "tokenizer.json", tmp_path / "tokenizer.json")
    with pytest.raises(TokenizerError, match=f"is not the tokenizer .* and there is no {own}"):
        moved.predict(texts[0])


@pytest.mark.slow
def test_an_interrupted_run_comes_to_the_same_files(finished, tmp_path):
    found, folder, config = finished
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    shutil.rmtree(again / "artifacts")
    shutil.rmtree(next((again / "stages").glob(f"*-{TRIMMED}")))
    (again / "results.json").unlink()
    resumed = workflow.run(config, again)
    assert [row.sha256 for row in resumed.artifacts] == [row.sha256 for row in found.artifacts]
    assert results.load(again) == resumed


@pytest.mark.slow
def test_later_stages_and_their_teacher_read_what_was_cut_up_anew(reviews, tiny_encoder, tmp_path):
    tables = "factorize(rank=4, of=parameters, data_aware=true)"
    config = settings(
        reviews, tiny_encoder, recipes=(f"distill+trim_vocabulary(2)+{tables}+prune(0.5)",)
    )
    found = workflow.run(config, tmp_path / "run")
    assert found.artifacts[-1].accuracy > 0.7
    assert found.artifacts[-1].sparsity == pytest.approx(0.5, abs=0.01)
    report = next(stage for stage in found.stages if stage.technique == "factorize").report
    details = {layer.name: layer.detail for layer in report.layers if layer.treated}
    assert (
        details["embeddings/words"] == "rank 4 of 8, at 32 multiply-accumulates for each row read"
    )


def test_images_are_refused_before_any_work():
    recipes = ("trim_vocabulary+prune(0.5)",)
    with pytest.raises(ValueError, match=r"trim_vocabulary is for texts: .* Received: images"):
        RunConfig(
            data=DataConfig(name="mnist_sample"),
            backbone=BackboneConfig(name="lenet5"),
            recipes=recipes,
        )


def test_texts_that_would_leave_no_word_are_refused_before_training(
    reviews, tiny_encoder, tmp_path
):
    config = settings(reviews, tiny_encoder, recipes=("trim_vocabulary(5000)",))
    with pytest.raises(ValueError, match="No token of a word stands 5000 times"):
        workflow.run(config, tmp_path / "run")
    assert not list((tmp_path / "run").glob("stages/*/*.npz"))
