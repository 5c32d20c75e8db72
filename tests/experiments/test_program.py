"""What every program answers: stray words, errors, interruptions."""

from __future__ import annotations

import pytest
from absl import app

from experiments import program


def ends(work, *, words=(), **settings):
    main = program.entry(**settings)(work)
    with pytest.raises(SystemExit) as ended:
        main(["program", *words])
    return ended.value.code


def raises(error):
    def work():
        raise error

    return work


def test_a_program_does_its_work():
    done = []
    program.entry()(lambda: done.append("work"))(["program"])
    assert done == ["work"]


@pytest.mark.parametrize(
    "error",
    [ValueError("--x must be 1."), FileNotFoundError("no file"), FloatingPointError("loss is NaN")],
)
def test_an_error_is_told_in_a_sentence(error):
    assert ends(raises(error)) == f"Error: {error}"


def test_a_fault_of_ours_shows_where_it_is():
    with pytest.raises(KeyError):
        program.entry()(raises(KeyError("x")))(["program"])


def test_memory_that_runs_out_comes_with_advice():
    assert "smaller images or batches" in ends(raises(MemoryError("2 GiB")))


@pytest.mark.parametrize("resumable", [True, False])
def test_an_interruption_says_whether_the_command_goes_on(resumable, capsys):
    assert ends(raises(KeyboardInterrupt()), resumable=resumable) == 130
    said = capsys.readouterr().err
    assert "Interrupted." in said
    assert ("Give the same command again" in said) == resumable


def test_words_that_are_no_flags_are_refused_before_the_work():
    done = []
    with pytest.raises(app.UsageError, match=r"prune\(0.5\). Separate by commas."):
        program.entry(words="Separate by commas.")(lambda: done.append(1))(["p", "prune(0.5)"])
    assert done == []
