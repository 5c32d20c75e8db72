"""Which searches a study consists of, and its table."""

import dataclasses
import json

import pytest

from tfcompress.backbones import BackboneConfig
from tfcompress.budgets import Budget
from tfcompress.config import RunConfig, plain
from tfcompress.data import DataConfig
from tfcompress.run_folder import RunFolder
from tfcompress.search import storage
from tfcompress.studies import search_comparison
from tfcompress.studies.search_comparison import SearchOutcome, SearchStudy, table_lines

RUN = RunConfig(data=DataConfig(name="mnist_sample"), backbone=BackboneConfig(name="lenet5"))
BUDGETS = (Budget(max_size_bytes=5000), Budget(max_drop=0.01))


def study(**changes):
    given = {"run": RUN, "budgets": BUDGETS, "spaces": ("prune({0.1..0.9})+int8",), "trials": 4}
    return SearchStudy(**(given | changes))


def test_every_sampler_searches_for_every_budget_and_seed():
    found = dict(study(samplers=("tpe", "grid"), seeds=(0, 7)).searches())
    assert list(found) == [
        f"seed-{seed}/budget-{budget}/{sampler}"
        for seed in (0, 7)
        for budget in (0, 1)
        for sampler in ("tpe", "grid")
    ]
    last = found["seed-7/budget-1/grid"]
    assert (last.seed, last.run.seed, last.run.data.seed, last.run.training.seed) == (7,) * 4
    assert last.budget == BUDGETS[1]
    # A grid is carried out as it stands; a search that learns may also end trials early.
    assert not last.stop_poor
    assert found["seed-7/budget-1/tpe"].stop_poor


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budgets": ()}, "needs a budget, a space, a sampler and a seed. Received: 0, 1, 4, 3"),
        ({"samplers": ("best",)}, "Unknown sampler: 'best'"),
        ({"spaces": ("prun(0.5)",)}, "unknown technique 'prun'"),
        ({"trials": 0}, "--trials must be at least 1"),
        ({"seeds": (0, 1, 0)}, "each of its seeds once. Received twice: 0"),
        ({"samplers": ("tpe", "tpe")}, "each of its samplers once. Received twice: tpe"),
        ({"budgets": (Budget(max_drop=0.1), Budget(max_drop=0.1))}, "each of its budgets once"),
    ],
)
def test_a_study_that_cannot_be_carried_out_is_refused(changes, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        study(**changes)


def test_a_refused_study_leaves_the_folder_to_a_corrected_one(tmp_path):
    refused = study(spaces=("prune(0.5, skip=*)+int8",), samplers=("random",), seeds=(0,))
    with pytest.raises(ValueError, match="holds prune"):
        search_comparison.study(refused, tmp_path)
    assert not (tmp_path / "config.json").exists()
    assert not list(tmp_path.glob("seed-*"))
    with RunFolder(tmp_path).open_for({"another": "study"}):
        pass


def test_what_a_search_was_refused_for_stays_in_its_folder(tmp_path):
    own = tmp_path / "seed-0" / "budget-0" / "random" / "photos.zip"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"of somebody")
    only = study(samplers=("random",), seeds=(0,))
    record = {"search_study": plain(dataclasses.asdict(only))}
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"holds files but no config\.json"):
        search_comparison.study(only, tmp_path)
    assert own.read_bytes() == b"of somebody"


def test_a_missing_package_is_named_before_any_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package optuna"):
        search_comparison.study(study(), tmp_path / "out")


def outcome(sampler, seed, hypervolume, *, reached=True):
    return SearchOutcome(
        sampler=sampler,
        seed=seed,
        budget=0,
        trials=7,
        trained=4,
        hypervolume=hypervolume,
        reached=reached,
        distance=0.0 if reached else 0.25,
        recipe="qat",
        figure=0.9,
        difference=-0.01,
        size_bytes=4000,
        gzip_size_bytes=3000,
        latency_ms=0.1,
        seconds=9.0,
    )


def test_the_table_has_means_and_ends_over_the_seeds():
    outcomes = (outcome("tpe", 0, 0.5), outcome("tpe", 1, 0.6, reached=False))
    lines = table_lines((*outcomes, outcome("grid", 0, 0.4)), study())
    assert lines[0] == "### max_size_bytes 5000"
    assert lines[2].count("|") == lines[3].count("|") == lines[4].count("|") == 11
    assert lines[4] == (
        "| tpe | 55.00 (50.00 to 60.00) | 1 of 2 | 12 (0 to 25) | 0.9000 | -0.0100 | 4,000 | 3,000 "
        "| 7 | 4 |"
    )
    assert lines[5].startswith("| grid | 40.00 | 1 of 1 |")
