"""The front, the answer and the history, of figures made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from tfcompress.budgets import Budget
from tfcompress.goals import Classes, Values
from tfcompress.results import Latency
from tfcompress.search import SearchConfig, front
from tfcompress.search_record import FINISHED, STOPPED, Candidate, TrialRecord

OBJECTIVES = ("error", "size_bytes", "latency_ms")


def made(name, error, size, latency=1.0, **overruns):
    timed = Latency(latency, latency, "litert_cpu", 1, 1, 10)
    found = Candidate(name, "r", "p", "s", "int8", size, size, error, latency=timed)
    return Candidate(**{**vars(found), "overruns": overruns})


def names(found):
    return [each.name for each in found]


def test_the_front_holds_what_nothing_beats_from_the_smallest():
    candidates = [
        made("large", 0.01, 900),
        made("small", 0.05, 100),
        made("beaten", 0.06, 200),
        made("fast", 0.06, 300, 0.5),
    ]
    assert names(front.front(candidates, OBJECTIVES)) == ["small", "fast", "large"]


def test_latencies_that_differ_by_chance_put_nothing_on_the_front():
    candidates = [made("a", 0.05, 100, 1.0), made("b", 0.06, 200, 0.99)]
    assert names(front.front(candidates, OBJECTIVES)) == ["a"]


def test_the_best_within_the_budget_is_the_most_accurate():
    budget = Budget(max_size_bytes=1000, max_drop=0.1)
    candidates = [
        made("over", 0.01, 1200, max_size_bytes=0.2),
        made("larger", 0.02, 900, max_size_bytes=-0.1),
        made("best", 0.02, 800, max_size_bytes=-0.2),
        made("worse", 0.03, 100, max_size_bytes=-0.9),
    ]
    found = {}
    for best in ("auto", "accuracy", "size"):
        answer, reached = front.answer(candidates, SearchConfig(budget=budget, best=best))
        assert reached
        found[best] = answer.name
    assert found == {"auto": "best", "accuracy": "best", "size": "worse"}


def test_where_nothing_keeps_the_budget_the_nearest_answers():
    candidates = [
        made("far in one", 0.1, 100, max_size_bytes=-0.5, max_drop=0.9),
        made("near in both", 0.1, 100, max_size_bytes=0.3, max_drop=0.4),
        made("nearest", 0.1, 100, max_size_bytes=0.2, max_drop=0.4),
    ]
    answer, reached = front.answer(candidates, SearchConfig())
    assert (answer.name, reached) == ("nearest", False)


def shared(plain, goal=None):
    validation = SimpleNamespace(labels=np.array([[1.0], [3.0]]))
    dataset = SimpleNamespace(goal=goal or Classes(("a", "b")), validation=validation)
    return SimpleNamespace(config=SearchConfig(), plain=plain, dataset=dataset)


def test_chance_is_a_guess_or_the_mean():
    assert front.chance_error(shared(()).dataset) == 0.5
    values = Values(("x",), mean=(2.0,), std=(1.0,))
    assert front.chance_error(shared((), values).dataset) == 1.0


def test_history_counts_what_the_files_so_far_beat():
    plain = (made("float32", 0.25, 1000, 1.0, max_size_bytes=1.0),)
    half = made("half", 0.25, 500, 0.5, max_size_bytes=0.0)
    trials = [
        TrialRecord(0, "r", STOPPED),
        TrialRecord(1, "r", FINISHED, candidate=half),
    ]
    found = front.history(shared(plain), trials)
    # Of the reference (0.5, 1000, 1): the float32 file is as large and as slow, the other half so.
    assert [point.hypervolume for point in found] == pytest.approx([0, 0, 0.5 * 0.5 * 0.5])
    assert [point.distance for point in found] == [1.0, 1.0, 0.0]
    assert [point.trials for point in found] == [0, 1, 2]
