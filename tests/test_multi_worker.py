"""Training in two processes on this machine: the weights of one, and what goes wrong, said."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfcompress import results

HERE = Path(__file__).parent
# As on two devices of one process, see test_placement.py.
FLOAT_TOLERANCE = 2e-6
QUANTIZED_TOLERANCE = 0.05


def environment(addresses, index):
    task = {"type": "worker", "index": index}
    config = json.dumps({"cluster": {"worker": list(addresses)}, "task": task})
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    return {**os.environ, "PYTHONPATH": path, "TF_CONFIG": config}


def started(arguments, *, addresses, index):
    """One worker of a cluster, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *map(str, arguments)],
        env=environment(addresses, index),
        cwd=HERE.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def measured(folder, addresses, *recipes):
    """What each of two workers found out about recipes."""
    paths = [folder / f"{index}.json" for index in range(2)]
    processes = [
        started([HERE / "two_workers.py", path, *recipes], addresses=addresses, index=index)
        for index, path in enumerate(paths)
    ]
    said = [process.communicate(timeout=570)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def require_one_model(chief, other):
    """Both processes end with the same weights to the bit, and have the chief's history."""
    assert chief["sha256"] == other["sha256"]
    assert chief["history"] == other["history"]


def test_two_workers_prune_to_the_weights_of_one(tmp_path, free_addresses):
    chief, other = measured(tmp_path, free_addresses(2), "prune")
    found = chief["compared"]["prune"]
    assert (chief["devices"], other["devices"]) == (2, 2)
    require_one_model(found, other["compared"]["prune"])
    assert found["moved"] > 0.01
    assert found["apart"] < FLOAT_TOLERANCE
    assert found["metrics_apart"] < FLOAT_TOLERANCE
    assert found["same_zeros"]


@pytest.mark.slow
def test_two_workers_train_every_technique_to_the_weights_of_one(tmp_path, free_addresses):
    names = ("cluster", "distill+prune", "qat")
    chief, other = measured(tmp_path, free_addresses(2), *names)
    for name in names:
        found = chief["compared"][name]
        require_one_model(found, other["compared"][name])
        assert found["moved"] > 0.01
        assert found["same_groups"] or name != "cluster"
        assert found["same_zeros"] or name != "distill+prune"
        tolerance = QUANTIZED_TOLERANCE if name == "qat" else FLOAT_TOLERANCE
        assert found["apart"] < tolerance
        assert found["metrics_apart"] < tolerance


RUN = (
    *("-m", "experiments.compress", "--strategy=multi_worker", "--dataset=mnist_sample"),
    *("--max_train=256", "--calibration_images=64", "--backbone=lenet_300_100", "--epochs=2"),
    *("--stage_epochs=6", "--batch_size=64", "--export=float32", "--latency_rounds=1"),
    "--recipe=prune(0.5)+cluster(8)",
)


def run(folder, addresses, *, other=()):
    """The program in both workers; the second one may be given other settings."""
    own = ((), other)
    return [
        started([*RUN, f"--output_dir={folder}", *own[index]], addresses=addresses, index=index)
        for index in range(2)
    ]


def ended(processes):
    """What the workers said, and how they ended."""
    said = [process.communicate(timeout=570)[0] for process in processes]
    return said, [process.returncode for process in processes]


def files(folder):
    found = results.load(folder)
    return {row.name: row.sha256 for row in found.artifacts}


@pytest.mark.slow
def test_a_run_that_lost_a_worker_goes_on_to_the_same_files(tmp_path, free_addresses):
    said, codes = ended(run(tmp_path / "whole", free_addresses(2)))
    assert codes == [0, 0], said
    assert "2 devices share each batch" in said[0]
    assert "Report:" in said[0]
    assert "Report:" not in said[1]

    chief, other = run(tmp_path / "broken", free_addresses(2))
    while not list((tmp_path / "broken").glob("stages/01-prune/checkpoint.npz")):
        assert chief.poll() is None
        time.sleep(0.02)
    other.kill()
    said, codes = ended([chief, other])
    assert codes[0] == 1
    assert "has lost another one" in said[0]
    assert "give all of them the same command again" in said[0]

    said, codes = ended(run(tmp_path / "broken", free_addresses(2)))
    assert codes == [0, 0], said
    assert "finished before" in said[0]
    assert "finished before" in said[1]
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


@pytest.mark.slow
def test_workers_with_other_settings_are_refused_in_all_of_them(tmp_path, free_addresses):
    said, codes = ended(run(tmp_path / "run", free_addresses(2), other=("--seed=7",)))
    assert codes == [1, 1], said
    assert all("not all given the same settings" in text for text in said)
    assert "seed: 0 -> 7" in said[1]
    assert not list(tmp_path.rglob("*.npz"))


def test_a_cluster_that_cannot_be_is_refused_before_any_work(tmp_path):
    arguments = [*RUN, f"--output_dir={tmp_path / 'run'}"]
    said, codes = ended([started(arguments, addresses=["a:1"], index=1)])
    assert codes == [1]
    assert "Error: TF_CONFIG must say which processes train together" in said[0]
    assert "Traceback" not in said[0]
    assert not (tmp_path / "run").exists()
