"""The program that asks what compression does to transfer learning, as a smoke study."""

import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest

COMMAND = ("--smoke", "--part=a,b", "--seed=0", "--regime=full")


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.transfer_study", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    return folder, program(*COMMAND, f"--output_dir={folder}")


@pytest.mark.slow
def test_it_prints_and_writes_what_it_found(done):
    folder, shown = done
    assert shown.returncode == 0, shown.stderr
    assert "3/3  resnet8, 32 px on mnist_sample, prune(0.5) downstream" in shown.stdout
    assert "3 of 3 trials: complete" in shown.stdout
    assert "not known with one seed" in shown.stdout
    assert "There is nothing to rank: both regimes of two compressions are needed." in shown.stdout
    assert (folder / "transfer_study.md").read_text() in shown.stdout
    texts = "".join(ElementTree.parse(folder / "transfer_order.svg").getroot().itertext())
    assert "prune(0.5)" in texts
    # Neither two regimes nor frozen layers were asked for.
    assert not (folder / "transfer_regime.svg").exists()


@pytest.mark.slow
def test_the_same_command_trains_nothing_more(done):
    folder, _ = done
    before = (folder / "transfer_study.md").read_text()
    again = program(*COMMAND, f"--output_dir={folder}", "--report_only")
    assert again.returncode == 0, again.stderr
    assert "a trial" not in again.stdout
    assert (folder / "transfer_study.md").read_text() == before
    other = program(*COMMAND, f"--output_dir={folder}", "--epochs=3")
    assert other.returncode == 1
    assert "transfer_study.epochs: 2 -> 3" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--backbone=resnet9"], "Unknown backbone: 'resnet9'"),
        (["--backbone=lenet5"], "A transfer needs pretrained weights"),
        (["--dataset=cifar10"], "resnet8 was trained on cifar10 already"),
        (["--seed=one"], "--seed takes whole numbers, such as 0,1,2. Received: ['one']"),
        (["--part=a", "--frozen=0.5"], "--frozen belongs to part d. Received also: --part=a"),
        (["--part=d", "--regime=full"], "--regime belongs to part b and c"),
        (["--backbone=resnet8@mnist_sample", "--dataset=mnist_sample"], "name no target"),
        (["--compression=qat"], "has no place before a transfer"),
        (["--epochs=1"], "compression_epochs are part of epochs"),
        (["prune"], "Unexpected arguments: prune"),
    ],
)
def test_bad_input_is_answered_at_once(tmp_path, arguments, says):
    shown = program("--smoke", f"--output_dir={tmp_path / 'out'}", *arguments)
    assert shown.returncode != 0
    assert says in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr
    assert not (tmp_path / "out").exists()


def test_help_answers_at_once():
    start = time.monotonic()
    shown = program("--help")
    assert time.monotonic() - start < 4
    assert "--frozen_compression" in shown.stdout
