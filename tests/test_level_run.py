"""A run that raises a level: decided on validation, recorded, resumed; what follows keeps it."""

import dataclasses

import pytest

from tfcompress import level_search, workflow
from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter
from tfcompress.training import TrainingConfig

SEARCH = "max_drop=0.02, first_step=0.49, least_step=0.2"
CONFIG = RunConfig(
    data=DataConfig(name="mnist_sample", max_train=512, calibration_size=64),
    backbone=BackboneConfig(name="lenet_300_100"),
    training=TrainingConfig(epochs=3, batch_size=64),
    recipes=(f"prune({SEARCH})+cluster(8)",),
    stage_training=StageTrainingConfig(epochs=2),
    export=ExportConfig(formats=("float32",)),
    latency=LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
)


class Stop(Exception):
    """An interruption."""


class Interrupting(Reporter):
    """Stops the run in the epoch of that number, over all stages."""

    def __init__(self, at):
        super().__init__()
        self._left = at

    def epoch(self, epoch, epochs, metrics):
        self._left -= 1
        if self._left == 0:
            raise Stop


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raised")
    return workflow.run(CONFIG, folder), folder


def searching_stage(found):
    (stage,) = (stage for stage in found.stages if stage.levels)
    return stage


def test_the_levels_follow_the_rule_and_the_best_is_kept(finished):
    found, _folder = finished
    stage = searching_stage(found)
    assert [s.name for s in found.stages] == ["00-baseline", "01-prune", "02-prune+cluster"]
    config = level_search.SearchConfig(0.02, first_step=0.49, least_step=0.2)
    for count in range(len(stage.levels)):
        expected = level_search.next_level(stage.levels[:count], config, highest=0.99)
        assert stage.levels[count].level == expected
    assert level_search.next_level(stage.levels, config, highest=0.99) is None
    best = level_search.kept(stage.levels)
    assert stage.config["technique"]["target_sparsity"] == best.value > 0
    assert stage.config["search"]["max_drop"] == 0.02
    assert all((trial.drop <= 0.02) == trial.held for trial in stage.levels)
    assert stage.seconds == pytest.approx(sum(trial.seconds for trial in stage.levels))
    assert {trial.epochs for trial in stage.levels} == {2}


def test_the_drop_is_that_of_the_baseline_on_validation(finished):
    found, folder = finished
    baseline = Predictions.load(folder / found.baseline.validation_predictions).accuracy
    for trial in searching_stage(found).levels:
        assert trial.drop == pytest.approx(baseline - trial.accuracy)


def test_what_follows_keeps_the_level_that_was_reached(finished):
    found, _ = finished
    best = level_search.kept(searching_stage(found).levels)
    (row,) = (row for row in found.artifacts if row.stages == ("prune", "cluster"))
    assert row.sparsity == pytest.approx(best.value, abs=0.01)
    assert row.distinct_weights <= 8
    report = searching_stage(found).report
    assert all(layer.sparsity == pytest.approx(best.value, abs=0.01) for layer in report.layers)


def test_the_report_shows_every_level(finished):
    _found, folder = finished
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "Levels of 01-prune" in page
    assert (folder / "figures" / "levels.svg").exists()


@pytest.mark.parametrize("epoch", [pytest.param(4, marks=pytest.mark.slow), 6])
def test_a_run_that_was_interrupted_ends_with_the_same_levels(finished, tmp_path, epoch):
    """In the first level's training, and in the second's."""
    found, _folder = finished
    with pytest.raises(Stop):
        workflow.run(CONFIG, tmp_path / "run", reporter=Interrupting(epoch))
    again = workflow.run(CONFIG, tmp_path / "run")
    ours, theirs = searching_stage(again), searching_stage(found)
    assert [dataclasses.replace(trial, seconds=None) for trial in ours.levels] == [
        dataclasses.replace(trial, seconds=None) for trial in theirs.levels
    ]
    assert [row.sha256 for row in again.artifacts] == [row.sha256 for row in found.artifacts]


def test_a_finished_run_trains_no_level_again(finished):
    found, folder = finished
    files = {path: path.stat().st_mtime_ns for path in (folder / "stages").rglob("best.npz")}
    # The baseline, each level, the clusters.
    assert len(files) == 2 + len(searching_stage(found).levels)
    again = workflow.run(CONFIG, folder)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert again.stages == found.stages


OUT_OF_REACH = "cluster(max_drop=0, first_step=1, least_step=1, epochs=1)"


def test_where_no_level_holds_the_other_recipes_are_carried_out(tmp_path):
    config = dataclasses.replace(CONFIG, recipes=(OUT_OF_REACH, "prune(0.5, epochs=1)"))
    found = workflow.run(config, tmp_path / "run")
    (given_up,) = found.given_up
    assert given_up.recipe == OUT_OF_REACH
    assert "no level keeps within the drop. The nearest was clusters 2" in given_up.reason
    assert [row.name for row in found.artifacts] == ["baseline-float32", "prune-float32"]
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert r"left no file: cluster(max\_drop=0): no level keeps" in page
    assert [trial.held for trial in given_up.levels] == [False] * len(given_up.levels) != []
    section = page.split(r"Levels of cluster(max\_drop=0, first\_step=1")[1]
    assert section.count("too much") == len(given_up.levels)
    # A finished run says the same again and trains nothing.
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "stages").rglob("best.npz")}
    assert workflow.run(config, tmp_path / "run").given_up == found.given_up
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_recipe_that_is_given_up_lends_nothing_to_one_of_the_same_name(tmp_path):
    longer = OUT_OF_REACH.replace("epochs=1", "epochs=2").replace("max_drop=0", "max_drop=0.9")
    recipes = (OUT_OF_REACH, longer, f"{OUT_OF_REACH}+qat")
    found = workflow.run(dataclasses.replace(CONFIG, recipes=recipes), tmp_path)
    assert [each.recipe for each in found.given_up] == [OUT_OF_REACH, recipes[2]]
    assert {trial.epochs for trial in searching_stage(found).levels} == {2}
    # The search that failed is made once, though two recipes begin with it.
    levels = sorted(path.parent.name for path in (tmp_path / "stages").glob("*/clusters-*"))
    assert len(set(levels)) == 2


def test_a_recipe_that_makes_nothing_smaller_is_given_up_too(tmp_path):
    recipes = ("factorize(energy=0.999999, epochs=1)", "prune(0.5, epochs=1)")
    found = workflow.run(dataclasses.replace(CONFIG, recipes=recipes), tmp_path)
    assert [each.recipe for each in found.given_up] == [recipes[0]]
    assert [row.name for row in found.artifacts] == ["baseline-float32", "prune-float32"]


def test_where_no_recipe_is_left_the_run_gives_each_reason(tmp_path):
    recipes = (OUT_OF_REACH, "prune(max_drop=0, first_step=0.99, least_step=0.99, epochs=1)")
    with pytest.raises(ValueError, match=r"(?s)No recipe left.*cluster\(.*prune\(max_drop=0\)"):
        workflow.run(dataclasses.replace(CONFIG, recipes=recipes), tmp_path)


def test_where_no_level_holds_the_run_says_so_and_keeps_the_baseline(tmp_path):
    config = dataclasses.replace(CONFIG, recipes=(OUT_OF_REACH,))
    with pytest.raises(ValueError, match="no level keeps within the drop"):
        workflow.run(config, tmp_path / "run")
    assert (tmp_path / "run" / "stages" / "00-baseline" / "best.npz").exists()
    assert (tmp_path / "run" / "config.json").exists()
