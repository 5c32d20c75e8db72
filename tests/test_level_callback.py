"""The callback that raises a level within one fit: its sequence by hand, and real fits."""

import numpy as np
import pytest

import tfcompress
from tfcompress.techniques import cluster, prune


def small_model():
    from tfcompress._keras import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input([20])
    hidden = keras.layers.Dense(50, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, name="logits")(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def kernel(model):
    return model.get_layer("hidden").get_weights()[0]


def zeros(model):
    return float((kernel(model) == 0).mean())


def driven(callback, model, scores):
    """Calls what `fit` calls; an epoch's step adds 1 to every weight. Gives the zeros seen."""
    callback.set_params({"steps": 1, "epochs": len(scores)})
    callback.set_model(model)
    callback.on_train_begin()
    seen = []
    for epoch, score in enumerate(scores):
        callback.on_epoch_begin(epoch)
        model.set_weights([weights + 1 for weights in model.get_weights()])
        callback.on_train_batch_end(0)
        seen.append(zeros(model))
        callback.on_epoch_end(epoch, {"val_accuracy": score})
        if model.stop_training:
            break
    callback.on_train_end()
    return seen


def test_levels_rise_fail_and_go_back_by_hand():
    model = small_model()
    model.stop_training = False
    callback = tfcompress.accuracy_aware(
        "prune", baseline=0.9, max_drop=0.02, patience=2, first_step=0.2, least_step=0.1
    )
    # 0.2 holds at its second epoch; 0.4 never does; 0.3 holds at once.
    seen = driven(callback, model, [0.85, 0.89, 0.87, 0.86, 0.88])
    assert seen == [0.2, 0.2, 0.4, 0.4, 0.3]
    assert [(trial.value, trial.held, trial.epochs) for trial in callback.trials] == [
        (0.2, True, 2),
        (0.4, False, 2),
        (0.3, True, 1),
    ]
    assert callback.trials[1].accuracy == 0.87
    assert callback.trials[1].drop == pytest.approx(0.03)
    assert model.stop_training
    assert callback.kept.value == 0.3
    assert callback.config == prune.CONFIG(0.3)
    prune.verify(model, callback.config)
    # Two epochs of the level that held, none of the one that failed, one of the last.
    biases = model.get_layer("hidden").get_weights()[1]
    np.testing.assert_array_equal(biases, 3.0)


def test_a_fit_that_ends_in_the_middle_of_a_level_goes_back():
    model = small_model()
    callback = tfcompress.accuracy_aware("prune", baseline=0.9, max_drop=0.02, first_step=0.4)
    assert driven(callback, model, [0.9, 0.5]) == [0.4, 0.8]
    assert zeros(model) == 0.4
    assert [trial.value for trial in callback.trials] == [0.4]


def test_where_no_level_holds_the_model_is_as_it_was_and_a_warning_says_so():
    model = small_model()
    before = kernel(model).copy()
    callback = tfcompress.accuracy_aware(
        "cluster", baseline=0.9, max_drop=0.0, patience=1, first_step=1.0, least_step=1.0
    )
    with pytest.warns(UserWarning, match="No level of clusters kept within a drop of 0 from 0.9"):
        driven(callback, model, [0.4])
    np.testing.assert_array_equal(kernel(model), before)
    assert callback.kept is None
    with pytest.raises(ValueError, match="No level kept within a drop of 0"):
        _ = callback.config


@pytest.mark.parametrize("technique", ["prune", "cluster"])
def test_a_fit_of_ones_own(technique):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(400, 20)).astype(np.float32)
    labels = inputs[:, :4].argmax(axis=1)
    model, module = small_model(), {"prune": prune, "cluster": cluster}[technique]
    data = {"validation_data": (inputs[300:], labels[300:]), "verbose": 0}
    baseline = model.fit(inputs[:300], labels[:300], epochs=15, **data).history["val_accuracy"][-1]
    callback = tfcompress.accuracy_aware(
        technique, baseline=baseline, max_drop=0.03, first_step=0.4, least_step=0.1
    )
    model.fit(inputs[:300], labels[:300], epochs=40, callbacks=[callback], **data)
    assert callback.kept.level >= 0.4
    module.verify(model, callback.config)
    _, accuracy = model.evaluate(inputs[300:], labels[300:], verbose=0)
    assert baseline - accuracy <= 0.03 + 1e-6
    assert accuracy == pytest.approx(callback.kept.accuracy, abs=1e-6)
    # The same callback begins anew.
    model.fit(inputs[:300], labels[:300], epochs=1, callbacks=[callback], **data)
    assert len(callback.trials) <= 1


def test_a_metric_that_is_not_there_is_told():
    callback = tfcompress.accuracy_aware("prune", baseline=0.9, max_drop=0.02, monitor="val_top")
    inputs, labels = np.zeros([8, 20], np.float32), np.zeros(8, np.int64)
    with pytest.raises(ValueError, match=r"'val_top', which this training does not have. Known: "):
        small_model().fit(inputs, labels, callbacks=[callback], verbose=0)


@pytest.mark.parametrize(
    ("technique", "settings", "says"),
    [
        ("distill", {}, "distill has no level"),
        ("prune_channels", {}, "Known: cluster, prune. A recipe raises it"),
        ("factorize", {}, "changes the layers"),
        ("prune", {"target_sparsity": 0.5}, "searches for target_sparsity. Received: 0.5"),
        ("prune", {"baseline": 90}, "For 90% pass 0.9"),
        ("prune", {"max_drop": 1}, "For 1 points pass 0.01"),
        ("prune", {"patience": 0}, "patience must be at least 1"),
        ("shrink", {}, "Unknown technique: 'shrink'"),
    ],
)
def test_what_cannot_be_raised_is_refused(technique, settings, says):
    with pytest.raises(ValueError, match=says):
        tfcompress.accuracy_aware(technique, **{"baseline": 0.9, "max_drop": 0.02, **settings})


def test_a_model_of_which_nothing_can_be_treated_is_refused():
    callback = tfcompress.accuracy_aware("prune", baseline=0.9, max_drop=0.02, skip="hidden|logits")
    inputs, labels = np.zeros([8, 20], np.float32), np.zeros(8, np.int64)
    with pytest.raises(ValueError, match="can treat no layer"):
        small_model().fit(inputs, labels, callbacks=[callback], verbose=0)
