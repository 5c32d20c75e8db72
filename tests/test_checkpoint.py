"""Trainings that are interrupted and go on, to the bit."""

import numpy as np
import pytest

from tests.small_trainings import batches, small_model
from tfcompress import checkpoint, compose, optimizers, training
from tfcompress.recipe import parse
from tfcompress.training import TrainingConfig


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


@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
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
