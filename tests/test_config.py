"""The settings of a run: what is refused before any work, and how they are written."""

import dataclasses
import json

import pytest

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig, StageTrainingConfig, TransferConfig
from tfcompress.records import differences


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TransferConfig(mode="partial"), "Unknown transfer mode: 'partial'"),
        (lambda: TransferConfig(mode="fine_tune"), "last_layers must be at least 1"),
        (lambda: TransferConfig(last_layers=3), "belongs to fine_tune. Received: 3 with full"),
        (lambda: TransferConfig(head_epochs=-1), "head_epochs must be at least 0"),
        (lambda: TransferConfig(mode="linear_probe", head_epochs=2), "0 for linear_probe"),
        (lambda: StageTrainingConfig(epochs=0), "at least 1 epoch"),
        (lambda: StageTrainingConfig(learning_rate=0), "learning rate above 0"),
        (lambda: StageTrainingConfig(learning_rate=float("nan")), "learning rate above 0"),
        (lambda: RunConfig(recipes=("prune(80)",)), "For 80% sparsity pass 0.8"),
        (lambda: RunConfig(recipes=("qat", "qat+prune")), "out of order"),
        (lambda: RunConfig(recipes=("distill(student=resnet9)",)), "resnet9"),
        (
            lambda: RunConfig(
                transfer=TransferConfig(mode="linear_probe"),
                backbone=BackboneConfig(name="lenet5", weights="none"),
            ),
            "needs pretrained weights",
        ),
    ],
)
def test_refused_before_any_work(make, says):
    with pytest.raises(ValueError, match=r"\w") as error:
        make()
    assert says in str(error.value)


def test_recipes_are_written_in_one_form_and_once():
    config = RunConfig(recipes=("prune( 0.80 )+ qat", "none", "prune(0.8)+qat", ""))
    assert config.recipes == ("prune(0.8)+qat",)


@pytest.mark.parametrize(
    ("recipes", "titles"),
    [
        ((), ()),
        (("prune(0.8)+qat", "cluster"), ("prune+qat", "cluster")),
        (("int8", "float16"), ("baseline", "baseline")),
        (("prune(0.8)+int8", "prune(0.8)+dynamic"), ("prune", "prune")),
        (("prune(0.8)", "prune(0.9, end=0.7)"), ("prune-0.8", "prune-0.9-end-0.7")),
        (("prune(0.5, pattern=2:4)", "prune(0.8)"), ("prune-0.5-pattern-2_4", "prune-0.8")),
        # What all have is left out.
        (
            ("prune(0.8, epochs=4)+qat(epochs=2)", "prune(0.9, epochs=4)+qat(epochs=2)"),
            ("prune-0.8+qat", "prune-0.9+qat"),
        ),
        (
            ("prune(0.8)+qat(epochs=2)", "prune(0.8)+qat(epochs=3)"),
            ("prune+qat-epochs-2", "prune+qat-epochs-3"),
        ),
        (
            ("prune(0.8, learning_rate=0.1)", "prune(0.8, learning_rate=0.1, optimizer=sgd)"),
            ("prune", "prune-optimizer-sgd"),
        ),
    ],
)
def test_titles_tell_recipes_apart(recipes, titles):
    assert RunConfig(recipes=recipes).titles == titles


def test_titles_are_distinct_where_letters_of_file_names_would_merge_them():
    recipes = ("prune(0.5, skip=a*)", "prune(0.5, skip=a@)", "prune(0.5, skip=a_)")
    assert len(set(RunConfig(recipes=recipes).titles)) == 3


def test_the_record_is_json_and_comes_back_equal():
    record = RunConfig(recipes=("prune(0.8)",)).to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["recipes"] == ["prune(0.8)"]
    assert differences(record, json.loads(json.dumps(record))) == []


def test_every_setting_shows_in_the_record():
    plain = RunConfig()
    changed = dataclasses.replace(plain, seed=3)
    assert differences(plain.to_dict(), changed.to_dict()) == ["seed: 0 -> 3"]


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 1
