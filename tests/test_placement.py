"""Models on several devices and in half precision: the same structure, and nearly the same sums.

What needs two devices is measured by `two_devices.py`, in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfcompress import placement

HERE = Path(__file__).parent
RECIPES = ("prune", "cluster", "distill+prune")

# Two sums of eight examples added up, against one sum of sixteen, over twelve steps.
FLOAT_TOLERANCE = 2e-6
NORMALIZED_TOLERANCE = 2e-3
# A value that the last bit moves over the edge of an integer step is off by the whole step.
QUANTIZED_TOLERANCE = 0.05


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = tmp_path_factory.mktemp("two_devices") / "measured.json"
    found = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "two_devices.py"), str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        check=False,
    )
    assert found.returncode == 0, found.stderr[-4000:]
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_two_devices_give_the_weights_of_one(measured, recipe):
    found = measured["compared"][recipe]
    assert measured["devices"] == 2
    assert found["moved"] > 0.01
    assert found["apart"] < FLOAT_TOLERANCE
    assert found["metrics_apart"] < FLOAT_TOLERANCE
    assert found["copies_apart"] == 0
    assert found["predictions_apart"] < FLOAT_TOLERANCE


def test_batch_normalization_takes_its_statistics_from_the_whole_batch(measured):
    """Of each half alone they would be others."""
    found = measured["normalized"]
    assert found["moved"] > 0.01
    assert found["copies_apart"] == 0
    assert found["same_zeros"]
    # The moving variance without Bessel's correction: 16 examples of 6x6 positions, 1/576.
    assert found["apart"] < NORMALIZED_TOLERANCE
    assert found["metrics_apart"] < NORMALIZED_TOLERANCE


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_structure_is_the_same_to_the_bit(measured, recipe):
    found = measured["compared"][recipe]
    assert found["same_zeros"]
    # Values that no technique ties are told apart by their last bit.
    assert found["same_groups"] or recipe != "cluster"


def test_quantization_trains_on_two_devices_with_the_range_of_the_whole_batch(measured):
    """With the mean of the ranges of both halves the weights would be ten times as far apart."""
    found = measured["compared"]["qat"]
    assert found["moved"] > 0.01
    assert found["copies_apart"] == 0
    assert found["predictions_apart"] == 0
    assert found["apart"] < QUANTIZED_TOLERANCE
    assert found["metrics_apart"] < QUANTIZED_TOLERANCE


def test_a_training_on_two_devices_goes_on_where_it_was_interrupted(measured):
    """In half precision, whose loss scale is part of the state, and with dropout.

    Its random numbers differ from device to device and from epoch to epoch.
    """
    assert measured["resumed"]["same"]


def test_what_two_devices_cannot_train_is_refused(measured):
    said = measured["refused"]
    assert "was not built for strategy 'mirrored'" in said["another place"]
    assert "A batch of 15 cannot be shared equally by the 2 devices" in said["unequal shares"]


def test_one_device_is_a_strategy_too():
    assert placement.replicas("none") == 1
    assert placement.replicas("mirrored") == 1
    assert placement.shared_batch_size(3, at_most=256, devices=1) == 256


@pytest.mark.parametrize(
    ("examples", "at_most", "devices", "expected"),
    [
        (256, 256, 2, 256),
        # 256 and 1 would leave the second device nothing; 170 and 87 give it 2.
        (257, 256, 2, 170),
        (10, 256, 4, 12),
        (5000, 256, 8, 200),
    ],
)
def test_batches_of_which_each_device_gets_a_share(examples, at_most, devices, expected):
    found = placement.shared_batch_size(examples, at_most=at_most, devices=devices)
    assert found == expected
    share, last = found // devices, (examples - 1) % found + 1
    assert last > share * (devices - 1)


def test_too_few_examples_for_the_devices_are_refused():
    with pytest.raises(ValueError, match=r"9 examples .* by 8 devices.* at least 50"):
        placement.shared_batch_size(9, at_most=256, devices=8)
    assert placement.shared_batch_size(50, at_most=256, devices=8) == 56
