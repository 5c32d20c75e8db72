"""Training by name, the best epoch, and trainings that are interrupted and go on."""

import dataclasses
import math

import numpy as np
import pytest

from tfcompress import checkpoint, compose, objectives, training
from tfcompress.checkpoint import TrainingState
from tfcompress.goals import Classes
from tfcompress.recipe import parse
from tfcompress.training import Batches, TrainingConfig


def small_model(*, dropout=0.0, classes=4):
    from tfcompress._keras import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input([8, 8, 1])
    x = layers.Conv2D(8, 3, use_bias=False, name="conv1")(inputs)
    x = layers.BatchNormalization(momentum=0.8, name="bn1")(x)
    x = layers.ReLU(name="relu1")(x)
    x = layers.Flatten(name="flatten")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


def blobs(count=96, *, seed=0):
    """Four classes: which quadrant is bright."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    images = generator.normal(0, 0.7, (count, 8, 8, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[top : top + 4, left : left + 4] += 1
    return images, labels.astype(np.int64)


def batches(*, size=16):
    from tfcompress._keras import tf

    images, labels = blobs()
    steps = len(images) // size

    def train(first_epoch):
        def one_epoch(epoch):
            order = tf.random.experimental.stateless_shuffle(
                tf.range(len(images)), seed=tf.stack([tf.constant(5, tf.int64), epoch])
            )
            found = tf.data.Dataset.from_tensor_slices(order).batch(size)
            return found.map(lambda rows: (tf.gather(images, rows), tf.gather(labels, rows)))

        return tf.data.Dataset.range(first_epoch, 1000).flat_map(one_epoch)

    validation = tf.data.Dataset.from_tensor_slices(blobs(32, seed=9)).batch(32)
    return Batches(train, validation, steps, Classes.numbered(4))


class Stop(Exception):
    """A test's stand-in for Ctrl-C, which pytest would take for its own."""


def stop_after(epoch):
    from tfcompress._keras import keras

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            # In the middle of the next epoch: its half-done work must leave no trace.
            if self.current == epoch and batch == 2:
                raise Stop

        def on_epoch_begin(self, epoch, logs=None):
            self.current = epoch

    return Interrupt()


# Names.


@pytest.mark.parametrize("optimizer", training.OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_every_optimizer_takes_a_step(optimizer, weight_decay):
    from tfcompress._keras import tf

    config = TrainingConfig(optimizer=optimizer, learning_rate=0.1, weight_decay=weight_decay)
    built = training.build_optimizer(config, steps=10)
    assert type(built).__name__.lower() == optimizer
    variable = tf.Variable([1.0, -2.0])
    built.build([variable])
    built.apply_gradients([(tf.constant([1.0, -1.0]), variable)])
    found = variable.numpy()
    assert np.isfinite(found).all()
    assert found[0] < 1.0
    assert found[1] > -2.0


def test_weight_decay_is_decoupled_and_zero_is_none():
    from tfcompress._keras import tf

    for optimizer in ("sgd", "adamw"):
        for decay, expected in ((0.0, 2.0), (0.5, 2.0 - 0.1 * 0.5 * 2.0)):
            config = TrainingConfig(
                optimizer=optimizer, learning_rate=0.1, schedule="constant", weight_decay=decay
            )
            built = training.build_optimizer(config, steps=10)
            variable = tf.Variable([2.0])
            built.build([variable])
            built.apply_gradients([(tf.constant([0.0]), variable)])
            np.testing.assert_allclose(variable.numpy(), [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [
        ("constant", 0.1, 0.1, 0.1),
        ("cosine_decay", 0.1, 0.05, 0.0),
        ("exponential_decay", 0.1, 0.01, 0.001),
        ("inverse_time_decay", 0.1, 0.1 / 50.5, 0.001),
        ("polynomial_decay", 0.1, 0.0505, 0.001),
    ],
)
def test_schedules_by_hand(schedule, first, middle, last):
    config = TrainingConfig(learning_rate=0.1, schedule=schedule)
    built = training.build_schedule(config, steps=100)
    rate = built if callable(built) else lambda step: built
    found = [float(rate(step)) for step in (0, 50, 100)]
    assert found == pytest.approx([first, middle, last], rel=1e-4, abs=1e-7)
    assert set(training.SCHEDULES) == {
        "constant",
        "cosine_decay",
        "exponential_decay",
        "inverse_time_decay",
        "polynomial_decay",
    }


def test_warm_up_by_hand():
    config = TrainingConfig(learning_rate=0.1, schedule="cosine_decay", warmup=0.2)
    rate = training.build_schedule(config, steps=10)
    # Two steps up, then a cosine over the other eight.
    cosine = [0.1 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    found = [float(rate(step)) for step in range(10)]
    assert found == pytest.approx([0.05, 0.1, *cosine], rel=1e-5)


def test_warm_up_into_a_constant():
    config = TrainingConfig(learning_rate=0.1, schedule="constant", warmup=0.5)
    rate = training.build_schedule(config, steps=4)
    assert [float(rate(s)) for s in range(4)] == pytest.approx([0.05, 0.1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Logits (0, ln 3): probabilities 1/4 and 3/4; the label is the second class.
        ("categorical_crossentropy", -math.log(0.75)),
        ("categorical_focal_crossentropy", -0.25 * 0.25**2 * math.log(0.75)),
        ("categorical_hinge", max(0.0, 0.0 - math.log(3) + 1)),
        ("mean_squared_error", (0 + (math.log(3) - 1) ** 2) / 2),
    ],
)
def test_losses_by_hand(loss, expected):
    built = objectives.build_loss(loss, Classes.numbered(2))
    found = float(built([[0.0, 1.0]], [[0.0, math.log(3)]]))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_label_smoothing_by_hand():
    built = objectives.build_loss("default", Classes.numbered(2), label_smoothing=0.2)
    found = float(built([[0.0, 1.0]], [[0.0, math.log(3)]]))
    assert found == pytest.approx(-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)), rel=1e-5)


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


# Interrupted and resumed.

# Of an epoch, what is not the same each time.
MEASURED = ("seconds", "peak_memory_bytes", "energy_joules")


def trained(tmp_path, make, config, *, stages=(), interrupt=None):
    """Weights, history and optimizer of a training, broken off in an epoch and taken up anew."""
    callbacks = compose.callbacks(stages) if stages else []
    if interrupt is not None:
        with pytest.raises(Stop):
            training.fit(
                make(),
                batches(),
                config=config,
                state_dir=tmp_path,
                callbacks=[*callbacks, stop_after(interrupt)],
            )
        callbacks = compose.callbacks(stages) if stages else []
    model = make()
    found = training.fit(model, batches(), config=config, state_dir=tmp_path, callbacks=callbacks)
    history = [
        {name: value for name, value in record.items() if name not in MEASURED}
        for record in found.history
    ]
    with np.load(tmp_path / checkpoint.CHECKPOINT) as stored:
        last = {name: stored[name] for name in stored if name != "history"}
    return model.get_weights(), history, found.best_epoch, last


def assert_same(plain, resumed):
    for name, value in plain[3].items():
        np.testing.assert_array_equal(value, resumed[3][name], err_msg=name)
    assert plain[1] == resumed[1]
    assert plain[2] == resumed[2]
    for ours, theirs in zip(plain[0], resumed[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("optimizer", training.OPTIMIZERS)
def test_the_state_of_every_optimizer_is_complete(optimizer):
    from tfcompress._keras import tf

    def made(values=None):
        built = training.build_optimizer(TrainingConfig(optimizer=optimizer), steps=10)
        variable = tf.Variable([[1.0, -2.0], [0.5, 3.0]])
        built.build([variable])
        for target, value in zip(
            [variable, *checkpoint._variables(built)], values or (), strict=False
        ):
            target.assign(value)

        @tf.function
        def step():
            built.apply_gradients([(tf.constant([[1.0, -1.0], [0.3, 0.1]]) * variable, variable)])

        return step, lambda: [v.numpy() for v in [variable, *checkpoint._variables(built)]]

    step, state = made()
    for _ in range(3):
        step()
    resumed, resumed_state = made(state())
    for _ in range(2):
        step()
        resumed()
    for ours, theirs in zip(state(), resumed_state(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "nadam"])
def test_an_interrupted_training_goes_on_to_the_bit(tmp_path, optimizer):
    config = TrainingConfig(epochs=3, optimizer=optimizer, learning_rate=0.003, warmup=0.2)
    plain = trained(tmp_path / "plain", small_model, config)
    resumed = trained(tmp_path / "resumed", small_model, config, interrupt=2)
    assert_same(plain, resumed)


@pytest.mark.parametrize("interrupt", [0, 2])
def test_dropout_goes_on_to_the_bit(tmp_path, interrupt):
    config = TrainingConfig(epochs=3, learning_rate=0.003, seed=4)
    plain = trained(tmp_path / "plain", lambda: small_model(dropout=0.5), config)
    resumed = trained(
        tmp_path / "resumed", lambda: small_model(dropout=0.5), config, interrupt=interrupt
    )
    assert_same(plain, resumed)


def test_dropout_differs_between_epochs_and_seeds():
    from tfcompress._keras import keras
    from tfcompress.callbacks import ReseedEachEpoch

    inputs = keras.Input([1000])
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(inputs))
    drawn = {}
    for seed in (0, 1):
        callback = ReseedEachEpoch(seed)
        callback.set_model(model)
        callback.on_train_begin()
        for epoch in (0, 1, 0):
            callback.on_epoch_begin(epoch)
            found = model(np.ones([1, 1000], np.float32), training=True).numpy().tobytes()
            assert drawn.setdefault((seed, epoch), found) == found
    assert len(set(drawn.values())) == 4


RECIPES = (
    "prune(0.7)",
    "prune(pattern=2:4, end=0.9)",
    "cluster(8, initialization=kmeans++)",
    "qat",
    "distill",
    "distill(features=1, attention=1)+prune(0.5)",
    "prune(0.5)+cluster(8)+qat",
)


@pytest.mark.parametrize("text", RECIPES)
def test_every_technique_goes_on_to_the_bit(tmp_path, text):
    stages = compose.plan(parse(text)).stages
    config = TrainingConfig(epochs=4, learning_rate=0.003)
    model, teacher = small_model(), small_model()
    for count in range(1, len(stages)):
        before = wrapped(stages[:count], model, teacher)
        trained(tmp_path / str(count), lambda: before, config, stages=stages[:count])  # noqa: B023
        model = compose.strip(stages[:count], before)

    def make():
        return wrapped(stages, model, teacher)

    plain = trained(tmp_path / "plain", make, config, stages=stages)
    resumed = trained(tmp_path / "resumed", make, config, stages=stages, interrupt=1)
    assert_same(plain, resumed)


def wrapped(stages, model, teacher):
    from tfcompress._keras import keras

    keras.utils.set_random_seed(2)
    return compose.wrap(stages, model, supplied={"teacher": teacher}, steps_per_epoch=6, epochs=4)


def test_a_finished_training_is_not_repeated(tmp_path):
    config = TrainingConfig(epochs=2)
    plain = trained(tmp_path, small_model, config)
    written = (tmp_path / checkpoint.CHECKPOINT).stat().st_mtime_ns
    again = trained(tmp_path, small_model, config)
    assert_same(plain, again)
    assert (tmp_path / checkpoint.CHECKPOINT).stat().st_mtime_ns == written


def test_a_damaged_checkpoint_is_named(tmp_path):
    config = TrainingConfig(epochs=2)
    trained(tmp_path, small_model, config)
    path = tmp_path / checkpoint.CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"checkpoint\.npz .*damaged"):
        training.fit(small_model(), batches(), config=config, state_dir=tmp_path)


def test_weights_of_another_model_are_refused(tmp_path):
    checkpoint.save_weights(small_model(), tmp_path / "w.npz")
    with pytest.raises(ValueError, match=r"w\.npz do not fit the model"):
        checkpoint.load_weights(small_model(classes=5), tmp_path / "w.npz")


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
