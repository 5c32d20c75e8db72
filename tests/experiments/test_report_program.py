from __future__ import annotations

import subprocess
import sys
import time

import pytest


def _report(*arguments):
    command = [sys.executable, "-m", "experiments.report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _run_folder(folder):
    """A run with no predictions and nothing measured but one file's size."""
    from tfcompress import results

    made = results.Results(
        config={},
        environment={},
        data=results.DataResult("mnist", "sample", ("0", "1"), {"test": 10}),
        baseline=results.ArtifactResult("baseline", accuracy=0.9),
        artifacts=(results.ArtifactResult("baseline-int8", format="int8", size_bytes=2048),),
    )
    results.save(made, folder)
    return folder


def test_the_program_prints_where_the_report_lies(tmp_path):
    done = _report("--run_dir", _run_folder(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "run" / "report.html") in done.stdout
    assert "baseline-int8" in done.stdout
    assert (tmp_path / "run" / "report.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run_dir=nowhere"], "No such folder: nowhere"),
        (["--run_dir=tests"], "not a run folder"),
        ([], "run_dir"),
        (["--run_dri=x"], "run_dri"),
        (["--run_dir=tests", "more"], "Unexpected arguments: more"),
        (["--run_dir=tests", "--output_dir=x"], "--output_dir goes with --compare"),
        (["--compare=tests,nowhere"], "tests is not a run folder"),
        (["--compare=tests"], "is not a run folder"),
    ],
    ids=[
        "missing",
        "foreign",
        "no flag",
        "bad flag",
        "positional",
        "flags that do not go together",
        "no runs",
        "one",
    ],
)
def test_bad_input_is_one_clear_message(arguments, message):
    done = _report(*arguments)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_help_needs_no_heavy_import():
    code = (
        "import sys; sys.argv = ['report']; import experiments.report, tfcompress.report; "
        "heavy = {'tensorflow', 'tf_keras', 'matplotlib', 'scipy', 'numpy', 'jinja2'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_answers_soon():
    start = time.perf_counter()
    done = _report("--help")
    # 2 seconds on a quiet machine; a loaded one may take longer to start Python at all.
    assert time.perf_counter() - start < 10
    assert "--run_dir" in done.stdout
