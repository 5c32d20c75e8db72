"""What a training costs: which methods there are, what is timed, and the table."""

import pytest

from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import MeasurementError
from tfcompress.data import DataConfig
from tfcompress.studies import training_cost
from tfcompress.studies.training_cost import MethodCost, TrainingCost, TrainingCostConfig


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"methods": ("prune+qat",)}, r"one technique.*Received: 'prune\+qat'"),
        ({"methods": ("ptq",)}, "that trains.*Received: 'ptq'"),
        ({"methods": ("qat(epochs=9)",)}, r"trained alike.*Leave out epochs.*'qat\(epochs=9\)'"),
        ({"methods": ("tf-mot",)}, "tf-mot"),
        ({"methods": ("qat(growth=0.1)",)}, "what only a run finds out first"),
        ({"methods": ("distill(views=2)",)}, "what only a run finds out first"),
        ({"epochs": 1}, "at least 2 epochs"),
        ({"rounds": 0}, "1 round"),
    ],
)
def test_what_cannot_be_measured_is_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        TrainingCostConfig(**settings)


def test_methods_are_measured_beside_plain_training(tmp_path):
    config = TrainingCostConfig(
        methods=(training_cost.OWN, "prune_channels(0.5)"),
        data=DataConfig(name="mnist_sample", max_train=128),
        backbone=BackboneConfig(name="lenet5"),
        epochs=2,
        rounds=1,
    )
    found = training_cost.measure(config, tmp_path)
    # Measured once: what an interrupted measurement has is found again.
    assert training_cost.measure(config, tmp_path).methods == found.methods
    assert found.steps_per_epoch == 4
    assert [method.method for method in found.methods] == [
        "plain",
        training_cost.OWN,
        "prune_channels(0.5)",
    ]
    for method in found.methods:
        (first,), (step,) = method.first_epoch_seconds, method.step_ms
        # The first epoch holds the tracing, and four steps.
        assert first > 4 * step / 1e3 > 0
        assert min(method.peak_memory_bytes) > 2**27


@pytest.mark.slow
def test_a_failing_method_is_named(tmp_path):
    """TF-MOT's wrapper knows no hard swish; plain training, which comes first, does."""
    config = TrainingCostConfig(
        methods=("tf-mot prune",),
        data=DataConfig(name="cifar10_sample", max_train=64),
        backbone=BackboneConfig(name="MobileNetV3Small", weights="none", width=0.25, image_size=32),
        epochs=2,
        rounds=1,
    )
    with pytest.raises(MeasurementError, match=r"Training with tf-mot prune failed: .*supported"):
        training_cost.measure(config, tmp_path)


def test_the_table_by_hand():
    def cost(name, wrap, first, step, memory):
        sizes = tuple(one * 2**20 for one in memory)
        return MethodCost(name, wrap, first, step, sizes)

    found = TrainingCost(
        "net, 32 px, batch 32",
        25,
        (
            cost("plain", (0.0,) * 3, (10.0, 12.0, 11.0), (100.0, 120.0, 110.0), (1000,) * 3),
            cost("qat", (5, 6, 5.5), (20.0, 36.0, 16.5), (110.0, 120.0, 132.0), (1500,) * 3),
        ),
        {},
        {},
    )
    # Factors of the rounds: 2, 3 and 1.5; 2.5, 3.5 and 2; 1.1, 1 and 1.2.
    assert training_cost.table_lines(found)[-1] == (
        "| qat | 5.5 | 20.0 | 2.00 (1.50 to 3.00) | 2.50 (2.00 to 3.50) | 120.0 | "
        "1.10 (1.00 to 1.20) | 1,500 | 1.50 (1.50 to 1.50) |"
    )
