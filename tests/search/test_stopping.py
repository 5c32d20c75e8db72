"""Which trials end early."""

import pytest

from tfcompress.budgets import Budget
from tfcompress.results import Latency
from tfcompress.search import stopping
from tfcompress.search_record import (
    FAILED,
    FINISHED,
    STOPPED,
    Candidate,
    Draft,
    Progress,
    TrialRecord,
)


def made(size, error=0.1, latency=1.0, **overruns):
    timed = Latency(latency, latency, "litert_cpu", 1, 1, 10)
    return Candidate(
        "c", "r", "p", "s", "int8", size, size, error, latency=timed, overruns=overruns
    )


def trial(number, size, *errors, state=FINISHED):
    shares = [n / (len(errors) - 1) for n in range(len(errors))]
    progress = tuple(Progress(share, error) for share, error in zip(shares, errors, strict=True))
    return TrialRecord(number, "r", state, candidate=made(size), progress=progress)


def test_a_file_over_the_budget_is_ended_where_another_is_nearer():
    budget = Budget(max_size_bytes=1000)
    within, over = made(900, max_size_bytes=-0.1), made(1500, max_size_bytes=0.5)
    draft = Draft(1200, 1200)
    assert "1,200 for max_size_bytes=1,000" in stopping.beyond_budget(draft, budget, [within])
    # Nothing nearer is known, so that it may become the answer.
    assert stopping.beyond_budget(draft, budget, [over]) == ""
    assert stopping.beyond_budget(Draft(1900, 1900), budget, [over]) != ""
    assert stopping.beyond_budget(Draft(1040, 1040), budget, [within]) == ""
    assert stopping.beyond_budget(draft, Budget(max_drop=0.01), [within]) == ""


def test_early_in_a_search_nothing_over_the_budget_is_trained():
    budget, over = Budget(max_size_bytes=1000), made(1500, max_size_bytes=0.5)
    says = stopping.beyond_budget(Draft(1200, 1200), budget, [over], strict=True)
    assert says == "untrained, its file has 1,200 for max_size_bytes=1,000"
    assert stopping.beyond_budget(Draft(1040, 1040), budget, [over], strict=True) == ""


def tried(number, recipe, sha256, state=FINISHED):
    return TrialRecord(number, recipe, state, draft=Draft(1, 1, sha256=sha256))


def test_what_an_earlier_trial_trained_is_not_trained_again():
    before = [
        tried(0, "prune_channels(0.58)+qat", "a", state=FAILED),
        tried(1, "prune_channels(0.59)+qat", "b"),
        tried(2, "prune_channels(0.59)+qat", "a"),
    ]
    draft = Draft(1, 1, sha256="a")
    same = stopping.same_file(draft, "prune_channels(0.6)+qat", before)
    assert same == "untrained, its file is that of trial-0002"
    for other in (
        "prune_channels(0.6)+int8",
        "prune_channels(0.6, epochs=3)+qat",
        "prune_channels(0.6, importance=l1)+qat",
        "prune_channels(0.6)+qat(epochs=2)",
        "prune_channels(0.6)+prune(0.5)+qat",
    ):
        assert stopping.same_file(draft, other, before) == ""
    assert stopping.same_file(Draft(1, 1, sha256="c"), "prune_channels(0.6)+qat", before) == ""
    # Kept by a version that did not note it.
    old = tried(0, "prune_channels(0.6)+qat", "")
    assert stopping.same_file(Draft(1, 1), "prune_channels(0.61)+qat", [old]) == ""


def test_a_draft_of_the_latency_counts_too():
    budget = Budget(max_latency_ms=0.5)
    found = stopping.beyond_budget(Draft(1, 1, latency_ms=0.8), budget, [made(1)])
    assert found == "untrained, its file has 0.8 for max_latency_ms=0.5"
    # Where the machine was too busy to tell, nothing follows.
    assert stopping.beyond_budget(Draft(1, 1), budget, [made(1)]) == ""


PEERS = [trial(n, 100, 0.5, error, 0.1) for n, error in enumerate((0.10, 0.20, 0.30, 0.40))]


def behind(share, error, peers=PEERS, size=100):
    return stopping.behind_peers(share, error, Draft(size, size), peers, size="size_bytes")


def test_a_trial_behind_the_median_is_ended():
    # Half done the others had 0.1, 0.2, 0.3 and 0.4.
    assert behind(0.5, 0.25) == ""
    assert "its error was 0.26; half of 4 trials that cost no more had at most 0.25" in behind(
        0.5, 0.26
    )
    assert behind(0.75, 0.26) != ""


def test_a_draft_is_compared_with_drafts_alone():
    assert behind(0.0, 0.49) == ""
    assert behind(0.0, 0.51) != ""
    # Before half of its epochs no other trial had trained at all.
    assert behind(0.25, 0.9) == ""


@pytest.mark.parametrize(
    "peers",
    [
        PEERS[:3],
        [trial(n, 101, 0.5, 0.1, 0.1) for n in range(4)],
        [trial(n, 100, 0.5, 0.1, 0.1, state=STOPPED) for n in range(4)],
    ],
    ids=["few", "larger", "stopped"],
)
def test_others_say_nothing(peers):
    assert behind(0.5, 0.9, peers=peers) == ""
