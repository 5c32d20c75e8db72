"""Which recipes make a plan, and what the others are told."""

import dataclasses

import numpy as np
import pytest

from tfcompress import compose, planned_stages
from tfcompress.compose import plan
from tfcompress.level_search import SearchConfig
from tfcompress.recipe import RecipeError, parse
from tfcompress.techniques import NothingToGain, OutOfReach, VerificationError, level_of
from tfcompress.techniques.cluster import ClusteringConfig
from tfcompress.techniques.prune import PruningConfig


def planned(text):
    return plan(parse(text))


def test_a_plan_holds_configs_and_formats():
    found = planned("prune(0.8, epochs=4, learning_rate=0.01)+cluster(16)+float16+int8")
    first, second = found.stages
    assert first.config == PruningConfig(0.8)
    assert (first.epochs, first.learning_rate) == (4, 0.01)
    assert second.config == ClusteringConfig(16)
    assert (second.epochs, second.learning_rate) == (None, None)
    assert found.formats == ("float16", "int8")
    assert first.module.CONFIG is PruningConfig


def test_a_stage_says_how_it_is_trained():
    own, of_the_run = planned(
        "prune(0.8, epochs=4, optimizer=sgd, learning_rate=0.1, weight_decay=0)+qat"
    ).stages
    assert own.training == {
        "epochs": 4,
        "learning_rate": 0.1,
        "optimizer": "sgd",
        "weight_decay": 0,
    }
    assert of_the_run.training == {}
    # The baseline's decay goes with its optimizer.
    assert planned("prune(optimizer=sgd, learning_rate=0.1)").stages[0].weight_decay == 0
    assert planned("prune(learning_rate=0.1)").stages[0].weight_decay is None


def test_each_round_is_trained_as_the_stage_says():
    stages = planned("prune_channels(rounds=2, optimizer=sgd, learning_rate=0.1)").stages
    assert [stage.optimizer for stage in stages] == ["sgd", "sgd"]


def test_a_stage_may_take_its_statistics_anew():
    plain, anew = planned("prune+qat(reestimate=true)").stages
    assert (plain.reestimate, anew.reestimate) == (False, True)


def test_the_empty_recipe_is_the_empty_plan():
    assert planned("none") == compose.Plan(())


@pytest.mark.parametrize(
    "text",
    [
        "prune",
        "distill+prune_channels+factorize+prune+cluster+qat",
        "prune+qat+int8",
        "cluster+float16",
        "int8",
        "distill+qat",
    ],
)
def test_recipes_in_order_are_taken(text):
    names = [stage.technique for stage in planned(text).stages]
    assert [*names, *planned(text).formats] == text.split("+")


@dataclasses.dataclass(frozen=True)
class Refused:
    recipe: str
    says: tuple[str, ...]


REFUSED = (
    Refused(
        "shrink",
        (
            "unknown technique 'shrink'",
            "cluster, distill, factorize, prune, prune_channels, ptq, qat, trim_vocabulary",
            "float32",
        ),
    ),
    Refused("int8+prune", ("unknown technique 'int8'", "may end with an export format")),
    Refused("prune(0.8)+int8(3)", ("int8 takes no arguments",)),
    Refused("prune(80)", ("must be in [0, 1)", "Received: 80", "For 80% sparsity pass 0.8")),
    Refused("prune(80.0)", ("For 80.0% sparsity pass 0.8",)),
    Refused("prune(1.0)", ("must be in [0, 1)",)),
    Refused("prune(-0.1)", ("must be in [0, 1)",)),
    Refused("prune(nan)", ("must be in [0, 1)",)),
    Refused("prune(much)", ("target_sparsity", "a number", "much")),
    Refused("prune(true)", ("target_sparsity", "a number", "true")),
    Refused("prune(0.5, end=late)", ("end", "a number", "late")),
    Refused("prune(0.5, updates=2.5)", ("updates", "a whole number", "2.5")),
    Refused("prune(0.5, updates=0)", ("updates must be at least 1",)),
    Refused("prune(0.5, begin=0.5, end=0.5)", ("0 <= begin < end <= 1",)),
    Refused("prune(0.5, initial_sparsity=0.6)", ("initial_sparsity must be in",)),
    Refused("prune(0.5, schedule=linear)", ("linear", "constant, polynomial")),
    Refused("prune(0.8, pattern=2:4)", ("'2:4' keeps 2 of 4", "0.5", "Received", "0.8")),
    Refused("prune(pattern=4:4)", ("4:4",)),
    Refused("prune(pattern=0:4)", ("0:4",)),
    Refused("prune(pattern=2:0)", ("2:0",)),
    Refused("prune(pattern=0x1)", ("0x1",)),
    Refused("prune(pattern=stripes)", ("'N:M' such as '2:4'", "stripes")),
    Refused("prune(0.5, mask=3)", ("no argument 'mask'", "target_sparsity", "learning_rate")),
    Refused("prune(0.5, target_sparsity=0.6)", ("received 'target_sparsity' twice",)),
    Refused("qat(0.9, true, a, 0.1, all, b)", ("qat takes 5 arguments", "Received: 6")),
    Refused("cluster(0)", ("[2, 256]", "Received: 0")),
    Refused("cluster(1)", ("[2, 256]",)),
    Refused("cluster(257)", ("[2, 256]",)),
    Refused("cluster(16.5)", ("clusters", "a whole number", "16.5")),
    Refused("cluster(8, initialization=best)", ("best", "density, kmeans++, linear")),
    Refused("qat(range_decay=1)", ("range_decay must be in [0, 1)",)),
    Refused("factorize(energy=0.9, target=0.5)", ("takes one of energy, target and rank",)),
    Refused("factorize(90)", ("For 90% pass 0.9",)),
    Refused("factorize(round_to=1.5)", ("round_to", "a whole number")),
    Refused("factorize(calibration=me)", ("no argument 'calibration'",)),
    Refused("prune+factorize", ("out of order", "write factorize+prune")),
    Refused("distill(temperature=0)", ("temperature must be above 0",)),
    Refused("distill(alpha=2)", ("alpha must be in [0, 1]",)),
    Refused("distill(alpha=0)", ("nothing from the teacher",)),
    Refused("distill(features=-1)", ("at least 0",)),
    Refused("distill(teacher=me)", ("no argument 'teacher'",)),
    Refused("prune(epochs=0)", ("epochs must be at least 1", "Received: 0")),
    Refused("prune(epochs=1.5)", ("epochs must be a whole number", "1.5")),
    Refused("prune(epochs=true)", ("epochs must be", "true")),
    Refused("prune(optimizer=sdg, learning_rate=0.1)", ("Unknown optimizer: 'sdg'", "sgd")),
    Refused("prune(optimizer=sgd)", ("sgd and no rate", "learning_rate=0.1")),
    Refused("prune(optimizer=false, learning_rate=0.1)", ("Unknown optimizer: 'false'",)),
    Refused("prune(optimizer=0, learning_rate=0.1)", ("Unknown optimizer: '0'",)),
    Refused("prune(weight_decay=-1)", ("weight_decay must be at least 0", "-1")),
    Refused("ptq(weight_decay=0)", ("ptq trains nothing", "weight_decay")),
    Refused("prune(learning_rate=0)", ("learning_rate must be above 0",)),
    Refused("prune(learning_rate=inf)", ("learning_rate must be", "inf")),
    Refused("prune(reestimate=2)", ("reestimate must be true or false", "2")),
    Refused("ptq(reestimate=true)", ("ptq trains nothing", "reestimate")),
    Refused("prune(learning_rate=fast)", ("learning_rate must be", "fast")),
    Refused("prune(0.5)+prune(0.8)", ("each technique may stand once",)),
    Refused("trim_vocabulary+trim_vocabulary(2)", ("each technique may stand once",)),
    Refused("trim_vocabulary(0)", ("least_count must be at least 1. Received: 0",)),
    Refused("trim_vocabulary(0.5)", ("least_count must be a whole number", "0.5")),
    Refused("trim_vocabulary(epochs=2)", ("trim_vocabulary trains nothing", "epochs")),
    Refused("prune+trim_vocabulary", ("out of order", "write trim_vocabulary+prune")),
    Refused("factorize(0.9, rank=8)", ("takes one of energy, target and rank",)),
    Refused("factorize(of=bytes)", ("measure of factorize", "macs, parameters")),
    Refused(
        "qat+prune",
        (
            "out of order",
            "write prune+qat",
            "distill, trim_vocabulary, prune_channels, factorize, prune, cluster, ptq, qat",
        ),
    ),
    Refused("prune+distill", ("out of order", "write distill+prune")),
    Refused("prune+qat+float16", ("after qat only int8", "float16")),
    Refused("qat+float32+int8", ("after qat only int8",)),
    Refused("prune(2:4)", ("a number", "Received: 2:4", "needs its name, such as pattern=2:4")),
    Refused("ptq+float32", ("after ptq only int8",)),
    Refused("cluster+ptq", ("would undo the clusters", "equalize=false, rounding=nearest")),
    Refused("cluster+ptq(equalize=false)", ("would undo the clusters",)),
    Refused("ptq+qat", ("ptq and qat both quantize",)),
    Refused("ptq(epochs=2)", ("ptq trains nothing", "epochs")),
    Refused("ptq(steps=0)", ("steps must be at least 1", "rounding=nearest")),
    Refused("ptq(ranges=entropy)", ("entropy", "minmax, mse, percentile")),
    Refused("ptq(percentile=50)", ("percentile must be in (50, 100]",)),
    Refused("prune(0.5, max_drop=0.01)", ("target_sparsity, or max_drop", "0.5", "0.01")),
    Refused("cluster(clusters=8, max_drop=0.01)", ("clusters, or max_drop", "Leave one of")),
    Refused("prune(pattern=2:4, max_drop=0.01)", ("keeps 2 of 4", "Leave it out")),
    Refused("factorize(target=0.5, max_drop=0.01)", ("takes one of energy, target and rank",)),
    Refused("prune(max_drop=1)", ("max_drop must be in [0, 1)", "For 1 points pass 0.01")),
    Refused("prune(max_drop=little)", ("max_drop must be a number", "little")),
    Refused("prune(first_step=0.2)", ("first_step belong to max_drop, which is missing",)),
    Refused("prune(max_drop=0.01, least_step=0.5)", ("least_step must be in (0, first_step]",)),
    Refused("prune_channels(max_drop=0.01, rounds=2)", ("2 rounds", "Leave one of them out")),
    Refused(
        "distill(max_drop=0.01)",
        (
            "distill has no level that could be raised",
            "cluster (clusters), factorize (energy), prune (target_sparsity), "
            "prune_channels (target)",
        ),
    ),
    Refused("ptq(max_drop=0.01)", ("ptq has no level",)),
    Refused("prune_channels(50)", ("target must be in (0, 1)", "For 50% pass 0.5")),
)


@pytest.mark.parametrize("case", REFUSED, ids=[case.recipe for case in REFUSED])
def test_what_makes_no_sense_is_refused_with_the_reason(case):
    with pytest.raises(RecipeError) as error:
        planned(case.recipe)
    message = str(error.value)
    assert message.startswith(f"Recipe {case.recipe}")
    for part in case.says:
        assert part in message


def test_a_level_that_is_searched_for_starts_at_the_first_step():
    stages = planned(
        "prune(max_drop=0.01, end=0.8)+cluster(max_drop=0.02, first_step=1)+qat"
    ).stages
    assert stages[0].search == SearchConfig(0.01)
    assert (stages[0].config.target_sparsity, stages[0].config.end) == (0.1, 0.8)
    assert stages[1].search == SearchConfig(0.02, first_step=1.0)
    # One bit.
    assert stages[1].config.clusters == 2
    assert stages[2].search is None
    assert stages[0].at(0.4) == planned("prune(0.4, end=0.8)").stages[0]
    assert not compose.is_prepared(stages[0])
    with pytest.raises(ValueError, match="max_drop is a drop of accuracy"):
        compose.require_task(stages, "regression")


@pytest.mark.parametrize(
    ("technique", "setting", "values"),
    [
        ("prune", "target_sparsity", (0.0, 0.5, 0.99)),
        ("prune_channels", "target", (0.0, 0.5, 0.99)),
        # 8 bits of an index down to 1.
        ("cluster", "clusters", (256, 23, 2)),
        ("factorize", "energy", (1.0, 0.5, 0.01)),
    ],
)
def test_levels_by_hand(technique, setting, values):
    own = level_of(technique)
    assert own.setting == setting
    assert tuple(own.value(level) for level in (0, 0.5, own.highest)) == values


def test_a_skip_that_reads_like_a_number_is_a_layer_name():
    (stage,) = planned("qat(skip=3)").stages
    assert stage.config.skip == "3"


@dataclasses.dataclass(frozen=True)
class WantsImages:
    level: float = 0.5
    calibration: object = dataclasses.field(default=None, metadata={"supplied": True})


def test_a_config_gets_what_the_run_supplies_for_its_fields():
    supplied = {"calibration": "images", "teacher": "model"}

    def given(config, supplied):
        return planned_stages.supplied_config(planned_stages.PlannedStage("any", config), supplied)

    assert given(WantsImages(0.7), supplied) == WantsImages(0.7, "images")
    assert given(PruningConfig(0.8), supplied) == PruningConfig(0.8)
    assert given(WantsImages(), {"teacher": "model"}).calibration is None


def test_weights_that_allow_nothing_yet_are_no_refusal_before_training():
    """Of an untrained layer every direction counts; of the trained one a few may."""
    from tfcompress._keras import keras

    inputs = keras.Input([16])
    model = keras.Model(inputs, keras.layers.Dense(16, kernel_initializer="orthogonal")(inputs))
    stages = planned("factorize(0.9)").stages
    compose.require_treatable(stages, model, supplied={})
    with pytest.raises(NothingToGain, match="rank 15 of 16 would save no"):
        compose.wrap(stages, model, supplied={}, steps_per_epoch=1, epochs=1)
    # No weights could make it treatable.
    flat = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    with pytest.raises(ValueError, match="can treat no layer"):
        compose.require_treatable(stages, flat, supplied={})


def test_a_first_level_out_of_reach_is_no_refusal_before_training():
    supplied = {"teacher": two_layers()}
    (stage,) = planned("prune_channels(0.99)").stages
    with pytest.raises(OutOfReach, match="cannot take 99% of the macs"):
        compose.require_treatable([stage], two_layers(), supplied=supplied)
    (stage,) = planned("prune_channels(max_drop=0.01, first_step=0.99)").stages
    compose.require_treatable([stage], two_layers(), supplied=supplied)


def test_settings_leave_out_what_the_run_supplies():
    assert planned_stages.settings(WantsImages(0.7, "images")) == {"level": 0.7}
    assert "teacher" not in planned_stages.settings(planned("distill").stages[0].config)


def two_layers():
    from tfcompress._keras import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input([8])
    hidden = keras.layers.Dense(16, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(4, name="last")(hidden))


def weights_of(model, name):
    return model.get_layer(name).get_weights()[0]


def test_stages_are_carried_out_at_once_each_on_the_one_before():
    given = two_layers()
    before = weights_of(given, "hidden").copy()
    stages = planned("prune(0.5, skip=last)+cluster(4, skip=last)").stages
    found = compose.at_once(stages, given)
    values = weights_of(found, "hidden")
    kept = np.sort(np.abs(before), axis=None)[64:]
    assert np.count_nonzero(values) == 64
    assert np.unique(values).size == 4
    assert (np.abs(before[values != 0]) >= kept.min()).all()
    assert np.array_equal(weights_of(found, "last"), weights_of(given, "last"))
    assert np.array_equal(weights_of(given, "hidden"), before)
    assert compose.at_once((), given) is given


def test_what_a_run_would_supply_cannot_be_done_at_once():
    stages = planned("prune_channels(0.3, importance=taylor)").stages
    with pytest.raises(ValueError, match="needs examples"):
        compose.at_once(stages, two_layers())


@pytest.mark.parametrize("text", ["none", "prune_channels(0.5)", "factorize"])
def test_an_architecture_needs_no_keeping(text):
    assert compose.keeping(planned(text).stages) == []


def test_zeros_and_shared_values_are_kept_in_a_training_of_another_kind():
    stages = planned("prune(0.5)+cluster(4)").stages
    model = compose.at_once(stages, two_layers())
    before = {name: weights_of(model, name) for name in ("hidden", "last")}
    model.compile("sgd", "mse")
    inputs = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    model.fit(inputs, np.ones([64, 4]), verbose=0, callbacks=compose.keeping(stages))
    compose.verify_kept(stages, model)
    for name, values in before.items():
        after = weights_of(model, name)
        assert not np.array_equal(after, values)
        assert np.array_equal(after == 0, values == 0)
        for value in np.unique(values):
            assert np.unique(after[values == value]).size == 1


def test_what_is_gone_is_noticed():
    stages = planned("prune(0.5)").stages
    model = two_layers()
    with pytest.raises(VerificationError, match="hidden has 0 zeros"):
        compose.verify_kept(stages, model)
