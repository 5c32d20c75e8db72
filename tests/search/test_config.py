"""Settings of a search: what is refused before any work, and what follows from them."""

import pytest

from tfcompress.backbones import BackboneConfig
from tfcompress.budgets import Budget
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.search import SearchConfig, SpaceError
from tfcompress.search.config import with_formats

RUN = RunConfig(data=DataConfig(name="mnist_sample"), backbone=BackboneConfig(name="lenet5"))


def config(*spaces, **settings):
    return SearchConfig(**({"run": RUN, "spaces": spaces} | settings))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sampler": "bayes"}, "Unknown sampler: 'bayes'. Known: tpe, nsga2, random, grid"),
        ({"best": "smallest"}, "Unknown --best"),
        ({"trials": 0}, "--trials must be at least 1. Received: 0"),
        ({"draft_examples": 0}, "--draft_examples must be at least 1"),
        ({"budget": Budget(max_drop=2)}, "For 2 points pass 0.02"),
        (
            {"run": RunConfig(data=RUN.data, backbone=RUN.backbone, recipes=("qat",))},
            "finds the recipe itself. Received: --recipe=qat",
        ),
    ],
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        config(**settings)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ("none", "The space is empty"),
        ("prun({0.1..0.5})+int8", "holds the recipe prun.*unknown technique 'prun'"),
        ("prune({0.5..1.5})+int8", r"holds the recipe prune\(1\)\+int8.*must be in \[0, 1\)"),
        ("qat+{prune(0.5)|none}", "out of order"),
        ("{cluster(16)|none}+ptq", "ptq would undo the clusters"),
        ("prune(0.5)+{float32+int8|int8}", "each trial makes one file"),
    ],
)
def test_a_space_with_an_impossible_recipe_is_refused(space, says):
    with pytest.raises((SpaceError, ValueError), match=says):
        config(space)


def test_recipes_that_name_no_format_are_tried_in_each():
    formats = ("float32", "int8")
    assert config("prune({0.5..0.9})").spaces == ("prune({0.5..0.9})+{float32|int8}",)
    assert with_formats(("{qat|ptq}", "prune(0.5)+dynamic"), formats) == (
        "{qat|ptq}",
        "prune(0.5)+dynamic",
    )
    one = RunConfig(data=RUN.data, backbone=RUN.backbone, export=ExportConfig(formats=("float16",)))
    assert config("prune(0.5)", run=one).spaces == ("prune(0.5)+float16",)


def test_the_baseline_has_a_file_in_every_format_of_the_space():
    assert config("prune(0.5)+dynamic").baseline_formats == ("float32", "int8", "dynamic")


def test_what_decides_follows_from_the_limits():
    assert config().best_by == "error"
    assert config(budget=Budget(max_drop=0.01)).best_by == "size_bytes"
    assert config(budget=Budget(max_drop=0.01, max_size_bytes=5000)).best_by == "error"
    assert config(best="latency").best_by == "latency_ms"
    gzipped = config(budget=Budget(max_gzip_size_bytes=5000), best="size")
    assert gzipped.objectives == ("error", "gzip_size_bytes", "latency_ms")
    assert gzipped.best_by == "gzip_size_bytes"


def test_the_number_of_trials_may_grow_but_of_a_grid():
    assert config(trials=3).to_dict() == config(trials=9).to_dict()
    grids = [config(trials=n, sampler="grid").to_dict() for n in (3, 9)]
    assert grids[0] != grids[1]
