"""Training by name, the best epoch, and what is trained on."""

import dataclasses

import numpy as np
import pytest

from tests.small_trainings import batches, blobs, small_model
from tfcompress import training
from tfcompress.checkpoint import TrainingState
from tfcompress.goals import Classes
from tfcompress.training import TrainingConfig


def test_the_optimizer_is_the_one_that_the_settings_name():
    config = TrainingConfig(
        optimizer="sgd", learning_rate=0.1, schedule="constant", warmup=0.5, weight_decay=0.02
    )
    built = training.build_optimizer(config, steps=4)
    assert type(built).__name__ == "SGD"
    assert built.weight_decay == 0.02
    rates = [float(built._learning_rate(step)) for step in range(4)]
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"optimizer": "adamm"}, r"Unknown optimizer: 'adamm'\. Known: adadelta"),
        ({"schedule": "step"}, r"Unknown learning-rate schedule: 'step'\. Known: constant"),
        ({"loss": "nll"}, r"Unknown loss: 'nll'\. Known: default, categorical_crossentropy"),
        ({"epochs": 0}, r"epochs must be at least 1\. Received: 0"),
        ({"batch_size": 0}, r"batch_size must be at least 1"),
        ({"learning_rate": 0.0}, r"learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, r"learning_rate must be above 0"),
        ({"warmup": 1.0}, r"warmup must be in \[0, 1\)"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\)"),
        ({"weight_decay": -1.0}, r"weight_decay must be at least 0"),
        ({"early_stopping_patience": -1}, r"patience must be at least 0"),
        ({"loss": "categorical_hinge", "label_smoothing": 0.1}, r"takes no label_smoothing"),
        ({"loss": "mean_squared_error", "label_smoothing": 0.1}, r"takes no label_smoothing"),
    ],
)
def test_settings_are_refused_before_any_work(fields, says):
    with pytest.raises(ValueError, match=says):
        TrainingConfig(**fields)


# The best epoch.


@dataclasses.dataclass(frozen=True)
class Chosen:
    accuracies: tuple[float, ...]
    best: int
    first_eligible: int = 0


@pytest.mark.parametrize(
    "case",
    [
        Chosen((0.5,), 0),
        Chosen((0.5, 0.7, 0.6), 1),
        Chosen((0.7, 0.7, 0.6), 1),
        Chosen((0.9, 0.8, 0.7, 0.75), 3, first_eligible=2),
        Chosen((0.9, 0.8), 1, first_eligible=7),
    ],
    ids=str,
)
def test_the_best_epoch_is_that_of_validation(tmp_path, case):
    """Weights are set to the epoch's number; the accuracies are given."""
    model = small_model()
    config = TrainingConfig(epochs=len(case.accuracies))
    training.compile_model(model, config, goal=Classes.numbered(4), steps=1)
    model.optimizer.build(model.trainable_variables)
    state = TrainingState(
        model,
        tmp_path,
        patience=config.early_stopping_patience,
        first_eligible_epoch=min(case.first_eligible, config.epochs - 1),
    )
    for epoch, accuracy in enumerate(case.accuracies):
        model.set_weights([np.full_like(weight, epoch) for weight in model.get_weights()])
        state.record({"val_accuracy": accuracy, "seconds": 1.0})
    state.load_best()
    assert state.best_epoch() == case.best
    assert all((weight == case.best).all() for weight in model.get_weights())


@pytest.mark.parametrize(
    ("accuracies", "patience", "stops"),
    [
        ((0.5, 0.4), 1, True),
        ((0.5, 0.4), 2, False),
        ((0.5, 0.4, 0.3), 2, True),
        ((0.5, 0.5), 1, False),
        ((0.5, 0.4, 0.3, 0.2), 0, False),
    ],
)
def test_early_stopping(tmp_path, accuracies, patience, stops):
    model = small_model()
    config = TrainingConfig(epochs=9, early_stopping_patience=patience)
    training.compile_model(model, config, goal=Classes.numbered(4), steps=1)
    model.optimizer.build(model.trainable_variables)
    state = TrainingState(model, tmp_path, patience=config.early_stopping_patience)
    for accuracy in accuracies:
        state.record({"val_accuracy": accuracy, "seconds": 1.0})
    assert state.should_stop() is stops


def test_early_stopping_ends_the_training(tmp_path):
    config = TrainingConfig(epochs=30, learning_rate=1e-12, early_stopping_patience=1, seed=3)
    seen = []
    # With all layers frozen by the learning rate only batch normalization moves.
    found = training.fit(
        small_model(),
        batches(),
        config=config,
        state_dir=tmp_path,
        on_epoch=lambda epoch, metrics: seen.append(epoch),
    )
    assert len(found.history) == len(seen) < 30
    assert found.best_epoch == len(seen) - 2


def test_a_training_tells_what_it_did(tmp_path):
    steps = []
    config = TrainingConfig(epochs=2, learning_rate=0.01, schedule="constant")
    model = small_model()
    found = training.fit(
        model,
        batches(),
        config=config,
        state_dir=tmp_path,
        on_step=lambda done, total, metrics: steps.append((done, total)),
    )
    assert steps == [(step, 12) for step in range(1, 13)]
    assert len(found.history) == 2
    assert set(found.history[0]) - {"energy_joules"} == {
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "seconds",
        "examples",
        "peak_memory_bytes",
    }
    assert found.history[0]["learning_rate"] == pytest.approx(0.01)
    assert found.history[1]["loss"] < found.history[0]["loss"]
    images, labels = blobs(32, seed=9)
    accuracy = np.mean(model.predict(images, verbose=0).argmax(1) == labels)
    assert accuracy == pytest.approx(found.history[found.best_epoch]["val_accuracy"])


@pytest.mark.parametrize("rate", [1e30, 1e38])
def test_a_loss_that_is_no_number_ends_the_training_with_advice(tmp_path, rate):
    config = TrainingConfig(epochs=3, optimizer="sgd", learning_rate=rate, schedule="constant")
    with pytest.raises(
        FloatingPointError, match=r"loss became (nan|inf) .* Lower the learning rate"
    ):
        training.fit(small_model(), batches(), config=config, state_dir=tmp_path)


# Encoded images.


def test_encoded_batches_hold_every_row_once_an_epoch_in_an_order_of_seed_and_epoch():
    codes = np.arange(10, dtype=np.float32)[:, None]
    labels = np.arange(10)
    made = training.encoded_batches(
        (codes, labels),
        (codes[:3], labels[:3]),
        TrainingConfig(batch_size=5, seed=7),
        goal=Classes.numbered(10),
    )
    assert made.steps_per_epoch == 2

    def epochs(first, count):
        rows = [list(label.numpy()) for _, label in made.train(first).take(2 * count)]
        return [rows[2 * i] + rows[2 * i + 1] for i in range(count)]

    found = epochs(0, 3)
    assert all(sorted(epoch) == list(range(10)) for epoch in found)
    assert found[0] != found[1]
    assert epochs(1, 2) == found[1:]
    for code, label in made.train(0).take(2):
        np.testing.assert_array_equal(code.numpy()[:, 0], label.numpy())


def test_fewer_encoded_images_than_a_batch_give_one_step():
    codes, labels = np.zeros([3, 2], np.float32), np.zeros([3], np.int64)
    made = training.encoded_batches(
        (codes, labels), (codes, labels), TrainingConfig(batch_size=128), goal=Classes.numbered(2)
    )
    assert made.steps_per_epoch == 1
    assert next(iter(made.train(0)))[0].shape == (3, 2)
