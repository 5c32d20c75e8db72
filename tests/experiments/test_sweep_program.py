"""The programs that search for a recipe, and compare searches: their flags and refusals."""

import subprocess
import sys
import time

import pytest

from experiments.search_study import budget
from tfcompress.budgets import Budget


def program(name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--max_size_bytes=9000", "--max_gzip_size_bytes=9000"], "contradict each other"),
        (["--recipe=qat"], "A search finds the recipe itself"),
        (["--storage=nothing"], "--storage takes the URL of a database"),
    ],
)
def test_bad_input_is_answered_before_any_work(tmp_path, arguments, says):
    shown = program("sweep", "--config=smoke", f"--output_dir={tmp_path / 'out'}", *arguments)
    assert shown.returncode == 1
    assert says in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not (tmp_path / "out" / "baseline").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs a budget, a space, a sampler and a seed. Received: 0, 1"),
        (["--budget=max_drop=0.1", "--recipe=qat"], "takes --space and no --recipe"),
        (["--budget=max_drop=0.1", "--seed=1"], "takes --seeds and no --seed. Received: --seed=1"),
    ],
)
def test_a_study_that_cannot_be_carried_out_is_refused(tmp_path, arguments, says):
    folder = tmp_path / "out"
    common = ("--config=smoke", f"--output_dir={folder}", "--space=qat")
    shown = program("search_study", *common, *arguments)
    assert shown.returncode == 1
    assert says in shown.stderr
    assert not folder.exists()


def test_budgets_are_read_from_text():
    assert budget("max_size_bytes=60000, max_drop=0.01") == Budget(60000, max_drop=0.01)
    with pytest.raises(ValueError, match=r"Unknown limit: 'max_bytes'\. Known: max_size_bytes"):
        budget("max_bytes=9000")
    for text in ("", "60000, max_drop=0.01"):
        with pytest.raises(ValueError, match="takes limits by their names, such as max_size_by"):
            budget(text)


def test_help_answers_at_once():
    start = time.monotonic()
    shown = program("sweep", "--help")
    assert time.monotonic() - start < 4
    assert "--max_size_bytes" in shown.stdout
