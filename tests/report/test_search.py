"""The report on a search, of a record made by hand."""

import dataclasses
import io

import pytest
from rich.console import Console

from tfcompress import report, search_record
from tfcompress.budgets import Budget
from tfcompress.report import search, search_figures, search_terminal, text
from tfcompress.results import ArtifactResult, DataResult, Interval, Latency
from tfcompress.search_record import (
    FAILED,
    FINISHED,
    STOPPED,
    Candidate,
    Draft,
    Finalist,
    HistoryPoint,
    Importance,
    Progress,
    SearchRecord,
    TrialRecord,
)


def latency(ms):
    return Latency(ms, 1.2 * ms, "litert_cpu", 1, 1, 500, round_p50=(0.95 * ms, 1.05 * ms))


def row(name, accuracy, size, ms, *stages):
    return ArtifactResult(
        name=name,
        path=f"trials/{name}/artifacts/file.tflite",
        format="int8" if stages else "float32",
        stages=stages,
        size_bytes=size,
        gzip_size_bytes=size // 2,
        accuracy=accuracy,
        accuracy_interval=Interval(accuracy - 0.01, accuracy + 0.01),
        difference=accuracy - 0.9,
        difference_interval=Interval(accuracy - 0.91, accuracy - 0.89),
        p_value=0.2,
        gained=10,
        lost=20,
        latency_ms=(latency(ms),),
    )


def candidate(name, recipe, error, size, **over):
    return Candidate(
        name, recipe, "p", "s", "int8", size, size // 2, error, latency=latency(0.2), overruns=over
    )


def record(**changes):
    small = candidate("trial-0000", "prune_channels(0.5)+int8", 0.12, 50 * 1024, max_drop=-0.1)
    found = SearchRecord(
        config={"run": {"backbone": {"name": "lenet5"}}, "sampler": "tpe"},
        environment={"python": "3.11"},
        data=DataResult("digits", "sample", ("a", "b"), {"test": 1000, "validation": 500}),
        budget=Budget(max_size_bytes=100 * 1024, max_drop=0.03, max_latency_ms=0.5),
        baseline=ArtifactResult(
            "baseline", accuracy=0.9, accuracy_interval=Interval(0.88, 0.92), format="keras"
        ),
        baseline_error=0.1,
        finalists=(
            Finalist(
                "trial-0000",
                "prune_channels(0.5)+int8",
                row("trial-0000", 0.88, 50 * 1024, 0.2, "prune_channels"),
                {"max_size_bytes": -0.5, "max_drop": -0.08},
                "python -m experiments.compress '--recipe=prune_channels(0.5)+int8'",
            ),
            Finalist(
                "baseline-float32",
                "float32",
                row("baseline-float32", 0.9, 400 * 1024, 0.4),
                {"max_size_bytes": 3.0},
            ),
        ),
        best="trial-0000",
        reached=True,
        plain=(candidate("baseline-float32", "float32", 0.1, 400 * 1024, max_size_bytes=3.0),),
        trials=(
            TrialRecord(0, small.recipe, FINISHED, candidate=small, seconds=12.0),
            TrialRecord(
                1,
                "prune_channels(0.2)+int8",
                STOPPED,
                reason="untrained, its file was too large",
                draft=Draft(300 * 1024, 150 * 1024, 0.2),
                progress=(Progress(0.0, 0.2),),
            ),
            TrialRecord(2, "qat", FAILED, reason="the loss became nan", attempts=2),
        ),
        planned=3,
        objectives=("error", "size_bytes", "latency_ms"),
        reference=(0.5, 400 * 1024.0, 0.4),
        importance=(Importance("prune_channels.target", 0.75), Importance("qat or int8", 0.25)),
        history=tuple(HistoryPoint(n, 0.1 * n, 3.0 if n < 1 else 0.0) for n in range(4)),
        seconds=30.0,
        best_by="error",
        left_out={"cluster": "its equal weights take as many stored bytes as others do"},
    )
    return dataclasses.replace(found, **changes)


def test_the_answer_comes_first_with_its_command():
    found = search.verdict(record())
    assert found.headline == (
        "prune_channels(0.5)+int8 is the most accurate file within the budget of 100.0 KiB stored, "
        "0.500 ms, 3.00 points lost."
    )
    assert "50.0 KiB (25.0 gzipped), 0.200 ms" in found.remarks[0]
    assert found.remarks[-1] == "To repeat it alone:"
    assert found.command.startswith("python -m experiments.compress '--recipe=")
    where = "trials/trial-0000/artifacts/file.tflite"
    assert found.remarks[-2] == f"It lies in the search's folder as {where}."
    assert [card.value for card in found.cards] == ["50.0", "88.00%", f"{text.MINUS}2.00", "0.200"]


def test_a_baseline_that_has_learned_nothing_is_named():
    chance = ArtifactResult(
        "baseline", accuracy=0.52, accuracy_interval=Interval(0.48, 0.56), format="keras"
    )
    found = search.verdict(record(baseline=chance))
    assert any("not shown to be better than chance among 2 classes" in r for r in found.remarks)


def test_an_impossible_budget_is_answered_with_the_nearest():
    winner = record().finalists[0]
    far = dataclasses.replace(winner, overruns={"max_size_bytes": 0.5, "max_latency_ms": -0.2})
    found = search.verdict(record(reached=False, finalists=(far,)))
    assert found.headline.startswith("No file keeps the budget of 100.0 KiB stored")
    assert found.headline.endswith("the nearest is prune_channels(0.5)+int8.")
    assert "over by +50% stored." in found.remarks[1]


def test_a_drop_that_shows_on_the_test_split_alone_is_told():
    winner = record().finalists[0]
    worse = dataclasses.replace(winner, overruns={"max_drop": 0.25})
    found = search.verdict(record(finalists=(worse,)))
    assert "Caution: it was chosen on validation" in found.remarks[1]
    assert "over by +25% error" in found.remarks[1]


@pytest.mark.parametrize(
    ("best_by", "words"),
    [
        ("latency_ms", "is the fastest file within"),
        ("size_bytes", "is the smallest file within"),
        ("gzip_size_bytes", "is the smallest gzipped file within"),
        ("", "is the best file within"),
    ],
)
def test_the_headline_names_by_what_the_file_was_chosen(best_by, words):
    assert words in search.verdict(record(best_by=best_by)).headline


def test_what_was_left_out_is_told_with_the_reason():
    (tried, left) = search.contents(record()).sections[0].tables
    assert tried.title == "Trials"
    assert [cell.value for cell in left.rows[0]] == [
        "cluster",
        "its equal weights take as many stored bytes as others do",
    ]
    assert len(search.contents(record(left_out={})).sections[0].tables) == 1


def test_where_each_file_of_the_front_lies_is_told():
    titles = [table.title for table in search.contents(record()).folded]
    assert "Paths and checksums" in titles


def test_without_a_budget_there_is_none_to_keep():
    found = record(budget=Budget(), best_by="size_bytes")
    headline = search.verdict(found).headline
    assert headline.startswith("There was no budget")
    assert headline.endswith("is the smallest file.")
    titles = [column.title for column in search.front_table(found).columns]
    assert "Budget" not in titles


def test_the_front_says_what_keeps_the_budget():
    table = search.front_table(record())
    assert [cells[0].value for cells in table.rows] == [
        "baseline",
        "prune_channels(0.5)+int8",
        "baseline-float32",
    ]
    assert [cells[-1].value for cells in table.rows] == [text.MISSING, "kept", "over"]
    assert table.rows[2][-1].detail == "+300% stored"
    assert table.marked == 1


def test_every_trial_is_listed_with_its_end():
    parts = search.contents(record())
    trials = parts.sections[0].tables[0]
    assert [cells[-1].value for cells in trials.rows] == [
        "finished",
        "stopped: untrained, its file was too large",
        "failed: the loss became nan (2 workers)",
    ]
    # Of the stopped one the draft's size and what it had reached.
    assert [cell.value for cell in trials.rows[1][2:5]] == ["300.0", "150.0", "80.00"]
    counts = "1 finished, 1 stopped, 1 failed"
    assert parts.subtitle == f"3 trials chosen by tpe: {counts}; 30.0 s of work on them"


def test_figures_are_drawn_of_what_there_is():
    names = [each.name for each in search_figures.draw_all(record())]
    assert names == list(search_figures.NAMES)
    bare = record(importance=(), history=())
    assert [each.name for each in search_figures.draw_all(bare)] == list(search_figures.NAMES[:3])
    size = search_figures.draw_all(record())[0]
    assert "Shaded is what keeps the budget" in size.description
    assert "prune_channels(0.5)+int8" in size.wide


def test_a_record_is_rendered_and_comes_back(tmp_path):
    search_record.save(record(), tmp_path)
    assert search_record.load(tmp_path) == record()
    paths = report.render(tmp_path)
    assert "the loss became nan" in paths.html.read_text(encoding="utf-8")
    markdown = paths.markdown.read_text(encoding="utf-8")
    assert "prune\\_channels.target" not in markdown
    assert f"```sh\n{record().finalists[0].command}\n```" in markdown
    assert len(paths.figures) == 5


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_says_the_same(width):
    stream = io.StringIO()
    search_terminal.print_summary(record(), Console(width=width, file=stream))
    shown = stream.getvalue()
    assert "is the most accurate file within the budget" in " ".join(shown.split())
    assert "kept" in shown
    assert record().finalists[0].command in shown
