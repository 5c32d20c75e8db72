"""A small search from start to end, and what is refused before its work."""

import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tfcompress import file_locks, report, results, search_record
from tfcompress._keras import tf
from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter
from tfcompress.report.run import RunFolderError
from tfcompress.run_folder import RunFolder
from tfcompress.run_folder import RunFolderError as UnusableFolderError
from tfcompress.search import Budget, SearchConfig, StorageError, search, trial
from tfcompress.search.stopping import TrialStopped
from tfcompress.search_record import FAILED, FINISHED, STOPPED
from tfcompress.training import TrainingConfig
from tfcompress.workflow import Job

RUN = RunConfig(
    data=DataConfig(name="mnist_sample", max_train=600, calibration_size=50),
    backbone=BackboneConfig(name="lenet5"),
    training=TrainingConfig(epochs=1, batch_size=50),
    stage_training=StageTrainingConfig(epochs=1),
    latency=LatencyConfig(rounds=1, min_seconds=0.01),
)
# The first keeps the budget, so that the second, which is over it, is ended before its training.
CONFIG = SearchConfig(
    run=RUN,
    budget=Budget(max_size_bytes=200_000, max_drop=0.3),
    spaces=("prune_channels({0.6|0.2})+int8",),
    sampler="grid",
    trials=2,
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The folder of a search, and its record."""
    folder = tmp_path_factory.mktemp("search")
    return folder, search(CONFIG, folder, repeat=lambda recipe: f"repeat '{recipe}'")


def test_the_answer_is_the_file_that_keeps_the_budget(found):
    folder, record = found
    assert record.reached
    assert record.winner.recipe == "prune_channels(0.6)+int8"
    assert record.winner.command == "repeat 'prune_channels(0.6)+int8'"
    path = folder / record.winner.row.path
    assert path.stat().st_size == record.winner.row.size_bytes <= 200_000
    assert record.winner.row.stages == ("prune_channels",)
    assert search_record.load(folder) == record


def test_cheap_things_come_first(found):
    _, record = found
    small, large = record.trials
    assert {each.name for each in record.plain} == {"baseline-float32", "baseline-int8"}
    assert small.state == FINISHED
    assert [each.share for each in small.progress] == [0.0, 1.0]
    assert small.draft.size_bytes == small.candidate.size_bytes
    assert large.draft.size_bytes > 200_000
    assert large.state == STOPPED
    assert "for max_size_bytes=200,000" in large.reason
    assert large.candidate is None


def test_the_baseline_is_trained_once(found):
    folder, record = found
    own = folder / "baseline" / "stages" / "00-baseline" / "best.npz"
    for each in record.trials:
        theirs = folder / each.folder / "stages" / "00-baseline" / "best.npz"
        assert os.path.samefile(own, theirs)


def test_the_test_split_is_read_for_the_front_alone(found):
    folder, record = found
    read = {path.stem for path in (folder / "front" / "predictions").glob("*.npz")}
    assert read == {"baseline", *(each.name for each in record.finalists)}
    for part in ("baseline", *(each.folder for each in record.trials)):
        assert not list((folder / part / "predictions").glob("*.npz"))
    stored = Predictions.load(folder / "front" / "predictions" / f"{record.best}.npz")
    assert stored.correct.mean() == pytest.approx(record.winner.row.accuracy)


def test_the_report_shows_the_search_without_tensorflow(found):
    folder, _ = found
    page = (folder / "report.html").read_text()
    text = (folder / "report.md").read_text()
    for words in ("prune_channels(0.6)+int8", "file within the budget", "stopped"):
        assert words in page
    assert "repeat 'prune" in text
    assert "figures/front-size.svg" in text
    before = (folder / "report.md").read_bytes()
    program = (
        "import sys; from tfcompress import report; report.render(sys.argv[1]); "
        "assert not {'tensorflow', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, timeout=120)
    assert (folder / "report.md").read_bytes() == before


def test_the_report_program_shows_a_search(found):
    folder, _ = found
    command = [sys.executable, "-m", "experiments.report", "--run_dir", str(folder)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert "file within the budget" in " ".join(shown.stdout.split())
    assert str(folder / "report.html") in shown.stdout.replace("\n", "")


def test_the_same_search_again_tries_nothing(found):
    folder, record = found
    before = (folder / "search.json").read_bytes()
    assert search(CONFIG, folder) == record
    assert (folder / "search.json").read_bytes() == before


def test_a_cache_spares_the_training_and_changes_no_choice(found, tmp_path):
    _, alone = found
    cache = tmp_path / "cache"
    every = dataclasses.replace(CONFIG, stop_poor=False)
    trained = search(every, tmp_path / "every", cache=cache)
    assert [each.state for each in trained.trials] == [FINISHED, FINISHED]
    stages = tmp_path / "stopping" / "trials" / "trial-0000" / "stages"
    record = search(CONFIG, tmp_path / "stopping", cache=cache)
    assert (stages / "01-prune_channels" / "best.npz").stat().st_nlink > 1
    for ours, theirs in zip(record.trials, alone.trials, strict=True):
        assert (ours.state, ours.progress) == (theirs.state, theirs.progress)
    # That another search trained it does not make it a trial that was trained.
    assert [each.is_untrained for each in record.trials] == [False, True]


def test_another_search_in_the_folder_is_refused(found):
    folder, _ = found
    data = dataclasses.replace(RUN.data, name="cifar10_sample")
    other = dataclasses.replace(CONFIG, run=dataclasses.replace(RUN, data=data))
    with pytest.raises(
        UnusableFolderError, match=r"run\.data\.name: mnist_sample -> cifar10_sample"
    ):
        search(other, folder)
    with pytest.raises(UnusableFolderError, match="keeps its trials in a file in the folder"):
        search(CONFIG, folder, url=f"sqlite:///{folder}/trials.db")


def test_a_damaged_record_is_told_of(found, tmp_path):
    folder, _ = found
    text = (folder / "search.json").read_text()
    (tmp_path / "search.json").write_text(text[: len(text) // 2])
    with pytest.raises(RunFolderError, match="may be truncated"):
        report.render(tmp_path)
    (tmp_path / "search.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(RunFolderError, match="schema_version 99"):
        report.render(tmp_path)


def test_a_trial_whose_damaged_record_is_removed_is_carried_out_again(found, tmp_path):
    folder, before = found
    own = tmp_path / "search"
    shutil.copytree(folder, own)
    path = own / "trials" / "trial-0000" / "trial.json"
    shutil.copytree(path.parent, own / "trials" / "trial-0000-aside")
    # As if the other had been stopped because it came to the same file.
    other = own / "trials" / "trial-0001" / "trial.json"
    copied = json.loads(other.read_text())
    copied["draft"]["sha256"] = json.loads(path.read_text())["draft"]["sha256"]
    other.write_text(json.dumps(copied))
    path.write_text("{")
    with pytest.raises(UnusableFolderError, match="Remove that file to carry the trial out again"):
        search(CONFIG, own)
    path.unlink()
    (own / "search.json").unlink()
    again = search(CONFIG, own)
    assert [each.recipe for each in again.trials] == [each.recipe for each in before.trials]
    assert again.best == before.best
    assert again.winner.row.sha256 == before.winner.row.sha256


def test_what_does_not_belong_to_the_folder_is_told_of(found, tmp_path):
    folder, _ = found
    for name in ("study.json", "trials"):
        shutil.copytree(folder, tmp_path / name)
    (tmp_path / "study.json" / "study.json").write_text("{")
    with pytest.raises(UnusableFolderError, match="is damaged: it says which trials"):
        search(CONFIG, tmp_path / "study.json")
    # Another study, as if the journal had been replaced, whose first trial is of another recipe.
    record = tmp_path / "trials" / "trials" / "trial-0000" / "trial.json"
    text = record.read_text()
    assert "prune_channels(0.6)" in text
    record.write_text(text.replace("prune_channels(0.6)", "prune_channels(0.3)"))
    (tmp_path / "trials" / "study.json").unlink()
    with pytest.raises(UnusableFolderError, match="the storage was changed or replaced"):
        search(CONFIG, tmp_path / "trials")


@pytest.fixture
def broken(monkeypatch):
    """Has every trial raise an error."""

    def raising(error):
        def fail(self, run):
            raise error

        monkeypatch.setattr(trial._Trial, "_file", fail)

    return raising


ONE = dataclasses.replace(CONFIG, spaces=("prune_channels(0.4)+int8",), trials=1)


def test_an_error_of_tensorflow_fails_the_trial_alone(broken, tmp_path):
    broken(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"))
    (only,) = search(ONE, tmp_path).trials
    assert (only.state, only.reason) == (FAILED, "OOM when allocating")


def test_an_error_of_the_machine_leaves_the_trial_to_another_worker(broken, tmp_path):
    broken(tf.errors.InternalError(None, None, "the device is gone"))
    with pytest.raises(tf.errors.InternalError):
        search(ONE, tmp_path)
    broken(ValueError("nothing to be done"))
    (only,) = search(ONE, tmp_path).trials
    assert (only.reason, only.attempts) == ("nothing to be done", 2)


def test_a_trial_that_ends_its_workers_is_taken_up_three_times(broken, tmp_path):
    broken(IndexError("nobody thought of it"))
    for _ in range(trial.ATTEMPTS):
        with pytest.raises(IndexError):
            search(ONE, tmp_path)
    (only,) = search(ONE, tmp_path).trials
    assert (only.state, only.attempts) == (FAILED, 3)


def test_a_worker_that_is_interrupted_does_not_count(broken, tmp_path):
    for _ in range(trial.ATTEMPTS + 1):
        broken(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            search(ONE, tmp_path)
    broken(ValueError("nothing to be done"))
    (only,) = search(ONE, tmp_path).trials
    assert (only.reason, only.attempts) == ("nothing to be done", 1)


def test_a_refused_space_leaves_the_folder_free_also_with_a_cache(found, tmp_path):
    search(dataclasses.replace(CONFIG, trials=1), tmp_path / "first", cache=tmp_path / "cache")
    nothing = dataclasses.replace(CONFIG, spaces=("prune(0.5, skip=*)+int8",), sampler="tpe")
    with pytest.raises(ValueError, match="holds prune"):
        search(nothing, tmp_path / "second", cache=tmp_path / "cache")
    assert not (tmp_path / "second" / "config.json").exists()


def test_a_refused_search_leaves_the_folder_to_who_is_at_work_in_it(tmp_path):
    nothing = dataclasses.replace(CONFIG, spaces=("prune(0.5, skip=*)+int8",), sampler="tpe")
    RunFolder(tmp_path).join(nothing.to_dict())
    other = file_locks.take(tmp_path / ".lock-workers", shared=True)
    with pytest.raises(ValueError, match="holds prune"):
        search(nothing, tmp_path)
    assert (tmp_path / "config.json").exists()
    other.release()
    with pytest.raises(ValueError, match="holds prune"):
        search(nothing, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_what_cannot_be_used_is_told_before_any_training(tmp_path):
    with pytest.raises(StorageError, match="cannot be reached"):
        search(CONFIG, tmp_path, url="sqlite:////no/such/folder/trials.db")
    assert not (tmp_path / "baseline").exists()
    nothing = dataclasses.replace(CONFIG, spaces=("prune(0.5, skip=*)+int8",), sampler="tpe")
    with pytest.raises(ValueError, match="holds prune"):
        search(nothing, tmp_path)
    # The corrected settings may have the folder.
    assert not (tmp_path / "config.json").exists()


def test_a_stopped_training_keeps_its_epochs(found, tmp_path):
    """What a trial does when it is stopped, and what a worker does that takes one up."""
    folder, _ = found
    run = dataclasses.replace(RUN, recipes=("prune(0.5, epochs=2)+int8",))
    own, told = RunFolder(tmp_path / "trial"), []

    def watch(share, metrics):
        told.append((share, trial.error_in(metrics)))
        if share == 0.5:
            raise TrialStopped("enough")

    def select(**options):
        with own.open_for(run.to_dict()):
            own.take_over(RunFolder(folder / "baseline"), ("stages/**/*",))
            return Job(run, own, Reporter(), **options).select()

    with pytest.raises(TrialStopped):
        select(watch=watch)
    (row,) = select(
        watch=lambda share, metrics: told.append((share, trial.error_in(metrics)))
    ).artifacts
    assert [share for share, _ in told] == [0.5, 1.0]
    assert row.name == "prune-int8"
    assert row.predictions is None
    best = min(error for _, error in told)
    assert 1 - row.accuracy == pytest.approx(best, abs=0.02)


FLAGS = (
    "--config=smoke",
    "--max_train=400",
    "--latency_rounds=1",
    "--max_size_bytes=200000",
    "--space=prune_channels({0.5..0.8}, epochs=2)+int8",
    "--sampler=random",
    "--trials=4",
    "--nostop_poor",
)


def worker(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.sweep", *FLAGS, f"--output_dir={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def at_work(folder):
    begun = {path.parent for path in folder.glob("trials/*/config.json")}
    return begun - {path.parent for path in folder.glob("trials/*/trial.json")}


@pytest.mark.slow
def test_a_worker_that_is_killed_in_a_trial_loses_none(tmp_path):
    """Two programs search at once; one is killed while it trains a trial."""
    folder = tmp_path / "search"
    workers = [worker(folder), worker(folder)]
    try:
        deadline = time.monotonic() + 600
        # Both at a trial, one of them after the first of two epochs.
        while not (
            len(at_work(folder)) == 2 and list(folder.glob("trials/*/stages/01-*/checkpoint.npz"))
        ):
            assert time.monotonic() < deadline
            assert all(each.poll() is None for each in workers)
            time.sleep(0.02)
        victim, other = workers
        victim.send_signal(signal.SIGKILL)
        said, _ = other.communicate(timeout=900)
    finally:
        for each in workers:
            each.kill()
            each.communicate()
    assert other.returncode == 0, said
    record = search_record.load(folder)
    assert [each.number for each in record.trials] == [0, 1, 2, 3]
    assert all(each.state == FINISHED for each in record.trials)
    assert len({each.recipe for each in record.trials}) == 4
    assert max(each.attempts for each in record.trials) == 2
    assert "is the most accurate file within the budget" in said.replace("\n", " ")
    # The command that the report gives goes on with the trial's own folder, to a report of its own.
    words = shlex.split(record.winner.command)
    assert words[:3] == ["python", "-m", "experiments.compress"]
    own = folder / "trials" / record.best
    again = subprocess.run(
        [sys.executable, *words[1:], f"--output_dir={own}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert again.returncode == 0, again.stderr
    rows = {row.sha256: row for row in results.load(own).artifacts}
    assert rows[record.winner.row.sha256].accuracy == record.winner.row.accuracy
