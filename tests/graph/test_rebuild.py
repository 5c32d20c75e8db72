"""A model built anew: the same computation, with layers of its own, flat and with replacements."""

import numpy as np
import pytest

from tfcompress._keras import keras, tf
from tfcompress.graph.rebuild import Use, copied, rebuild

layers = keras.layers


def base(name="base"):
    """A small network with a layer of each kind of state."""
    inputs = keras.Input([6, 6, 3])
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="pool")(x), name=name)


def nested():
    inputs = keras.Input([6, 6, 3], name="image")
    return keras.Model(inputs, layers.Dense(2, name="logits")(base()(inputs, training=False)))


def siamese():
    tower = base("tower")
    left, right = keras.Input([6, 6, 3], name="left"), keras.Input([6, 6, 3], name="right")
    return keras.Model([left, right], layers.Subtract()([tower(left), tower(right)]))


def two_outputs():
    inputs = keras.Input([6, 6, 3])
    features = base()(inputs)
    heads = {"kind": layers.Dense(2, name="a")(features), "size": layers.Dense(1)(features)}
    return keras.Model(inputs, heads)


def dict_inputs():
    given = {"b": keras.Input([3], name="b"), "a": keras.Input([4], name="a")}
    joined = layers.Add()([layers.Dense(2)(given["a"]), layers.Dense(2)(given["b"])])
    inner = keras.Model(given, joined, name="inner")
    outer = {"a": keras.Input([4], name="a"), "b": keras.Input([3], name="b")}
    return keras.Model(outer, layers.Dense(1)(inner(outer)))


def used_twice():
    inner = keras.Sequential([keras.Input([4]), layers.Dense(4, name="dense")], name="inner")
    inputs = keras.Input([4])
    return keras.Model(inputs, layers.Dense(2, name="dense")(inner(inner(inputs))))


def three_of_one_name():
    inputs = x = keras.Input([4])
    for number in range(3):
        inner = [keras.Input([4]), layers.Dense(4, name="dense")]
        x = keras.Sequential(inner, name=f"block{number}")(x)
    return keras.Model(inputs, x)


def shared_layer():
    dense = layers.Dense(4, name="dense")
    inputs = keras.Input([4])
    return keras.Model(inputs, dense(layers.ReLU()(dense(inputs))))


def sequential_in_sequential():
    inner = keras.Sequential([layers.BatchNormalization(), layers.ReLU()])
    outer = keras.Sequential([layers.Conv2D(4, 3), inner])
    return keras.Sequential([keras.Input([6, 6, 3]), outer, layers.Flatten(), layers.Dense(2)])


def states_of_a_recurrent_layer():
    inputs = keras.Input([5, 3])
    sequence, *states = layers.LSTM(4, return_state=True, return_sequences=True)(inputs)
    return keras.Model(inputs, [layers.LSTM(4)(sequence, initial_state=states), states])


def masked_text():
    inputs = keras.Input([None], dtype="int32")
    x = layers.Embedding(10, 8, mask_zero=True)(inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def attention():
    inputs = keras.Input([6, 8])
    x = layers.MultiHeadAttention(2, 4)(inputs, value=inputs)
    return keras.Model(inputs, layers.LayerNormalization()(layers.Add()([x, inputs])))


def input_as_output():
    inputs = keras.Input([4])
    return keras.Model(inputs, [inputs, layers.Dense(2)(inputs)])


def unused_input():
    first, second = keras.Input([4]), keras.Input([2])
    return keras.Model([first, second], layers.Dense(2)(first))


def fixed_batch():
    inputs = keras.Input([4], batch_size=3)
    return keras.Model(inputs, layers.Dense(2)(inputs))


MODELS = {
    function.__name__: function
    for function in (
        nested,
        siamese,
        two_outputs,
        dict_inputs,
        used_twice,
        shared_layer,
        sequential_in_sequential,
        states_of_a_recurrent_layer,
        masked_text,
        attention,
        input_as_output,
        unused_input,
        fixed_batch,
    )
}


def randomize(model):
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.2, 1, w.shape) for w in model.get_weights()])


def outputs(model, *, training=False):
    generator = np.random.default_rng(1)
    values = [
        generator.integers(0, 3, [t.shape[0] or 3, *(n or 5 for n in t.shape[1:])]).astype(
            t.dtype.as_numpy_dtype
        )
        for t in model.inputs
    ]
    return model(tf.nest.pack_sequence_as(model._nested_inputs, values), training=training)


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_rebuilt_model_computes_the_same(build):
    model = build()
    randomize(model)
    names = [weight.name for weight in model.weights]
    rebuilt = rebuild(model)
    expected, received = outputs(model), outputs(rebuilt)
    tf.nest.assert_same_structure(expected, received)
    for one, other in zip(tf.nest.flatten(expected), tf.nest.flatten(received), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any(isinstance(layer, keras.Model) for layer in rebuilt.layers)
    assert rebuilt.count_params() == model.count_params()
    assert [tensor.name for tensor in rebuilt.inputs] == [tensor.name for tensor in model.inputs]
    # The given model has its own weights still, under their names.
    assert not {id(w) for w in model.weights} & {id(w) for w in rebuilt.weights}
    assert [weight.name for weight in model.weights] == names


def test_rebuilding_leaves_no_trace_in_the_given_model():
    model = nested()
    calls = {layer.name: len(layer._inbound_nodes) for layer in model._flatten_layers()}
    rebuild(model)
    after = {layer.name: len(layer._inbound_nodes) for layer in model._flatten_layers()}
    assert after == calls


def test_layers_of_a_model_in_inference_stay_there_in_training():
    model = nested()
    randomize(model)
    rebuilt = rebuild(model)
    expected, received = outputs(model, training=True), outputs(rebuilt, training=True)
    np.testing.assert_array_equal(expected, received)
    assert not np.allclose(
        outputs(rebuild(siamese()), training=True), outputs(rebuild(siamese()), training=False)
    )


def test_what_is_frozen_stays_frozen():
    model = nested()
    model.layers[1].trainable = False
    rebuilt = rebuild(model)
    assert [w.name for w in rebuilt.trainable_weights] == ["logits/kernel:0", "logits/bias:0"]


def test_layers_keep_their_names():
    assert [layer.name for layer in rebuild(nested()).layers] == [
        "image",
        "conv",
        "norm",
        "relu",
        "pool",
        "logits",
    ]


def test_a_taken_name_says_which_model_the_layer_comes_from():
    rebuilt = rebuild(three_of_one_name())
    assert [layer.name for layer in rebuilt.layers[1:]] == [
        "dense",
        "block1_dense",
        "block2_dense",
    ]


def test_a_model_used_twice_gives_shared_layers():
    rebuilt = rebuild(used_twice())
    assert [layer.name for layer in rebuilt.layers[1:]] == ["dense", "dense_2"]
    assert len(rebuilt.get_layer("dense")._inbound_nodes) == 2


def test_a_replacement_is_named_and_gets_the_weights():
    def doubled(use: Use):
        if not isinstance(use.layer, layers.Dense):
            return use.again()
        units = use.layer.units
        dense = use.instead(lambda name: layers.Dense(units, activation="relu", name=name))
        twice = layers.Rescaling(2.0, name=use.named("dense"))
        return twice(dense(*use.args))

    model = used_twice()
    randomize(model)
    rebuilt = rebuild(model, doubled)
    names = [layer.name for layer in rebuilt.layers[1:]]
    assert names == ["dense", "dense_1", "dense_2", "dense_3", "dense_4"]
    values = np.float32([[1, 2, 3, 4]])
    kernels = [model.get_layer("inner").get_layer("dense").kernel, model.get_layer("dense").kernel]
    biases = [model.get_layer("inner").get_layer("dense").bias, model.get_layer("dense").bias]
    x = values
    for index in (0, 0, 1):
        x = 2 * np.maximum(x @ kernels[index].numpy() + biases[index].numpy(), 0)
    np.testing.assert_allclose(rebuilt(values), x, rtol=1e-6)


def test_a_replacement_may_get_weights_of_its_own():
    """Once, though the layer is called twice."""
    kernel, bias = np.full([4, 4], 0.5, np.float32), np.zeros(4, np.float32)

    def other(use: Use):
        if not isinstance(use.layer, layers.Dense):
            return use.again()
        units = use.layer.units
        weights = [kernel[:, :units], bias[:units]]
        return use.instead(lambda name: layers.Dense(units, name=name), weights=weights)(*use.args)

    rebuilt = rebuild(used_twice(), other)
    # Each layer gives twice the mean of four equal numbers.
    np.testing.assert_allclose(rebuilt(np.float32([[1, 1, 1, 1]])), [[8, 8]])


def test_a_new_name_leaves_alone_those_that_later_layers_have():
    inputs = keras.Input([4])
    first = layers.Dense(4, name="dense")(inputs)
    model = keras.Model(inputs, layers.Dense(4, name="dense_1")(first))
    rebuilt = rebuild(model, lambda use: layers.ReLU(name=use.named("dense"))(use.again()))
    names = [layer.name for layer in rebuilt.layers[1:]]
    assert names == ["dense", "dense_2", "dense_1", "dense_3"]


def test_a_use_tells_what_it_is_called_on_in_both_models():
    model = nested()
    seen = {}

    def look(use: Use):
        seen[use.layer.name] = use
        return use.again()

    rebuilt = rebuild(model, look)
    use = seen["logits"]
    assert use.layer is model.get_layer("logits")
    assert use.inputs[0] is model.get_layer("logits").input
    assert use.outputs is model.output
    assert use.args[0] is rebuilt.get_layer("pool").output
    assert seen["norm"].kwargs == {"training": False}


@pytest.mark.parametrize("make", [rebuild, copied])
def test_adapted_statistics_are_computed_with(make):
    normalization = layers.Normalization()
    normalization.adapt(np.float32([[0, 10], [2, 30]]))
    inputs = keras.Input([2])
    model = keras.Model(inputs, layers.Dense(1, kernel_initializer="ones")(normalization(inputs)))
    # Means 1 and 20, deviations 1 and 10.
    assert make(model)(np.float32([[3, 40]])).numpy().tolist() == [[4]]


@pytest.mark.parametrize("make", [rebuild, copied])
def test_the_type_policy_is_kept(make):
    inputs = keras.Input([2])
    dense = layers.Dense(2, dtype="mixed_float16")
    model = keras.Model(inputs, dense(inputs))
    model._set_dtype_policy(keras.mixed_precision.Policy("mixed_float16"))
    made = make(model)
    assert made.dtype_policy.name == "mixed_float16"
    assert made.layers[1].dtype_policy.name == "mixed_float16"
    assert made.output.dtype == "float16"


def test_copied_is_of_the_same_kind():
    model = nested()
    randomize(model)
    copy = copied(model)
    assert isinstance(copy.layers[1], keras.Model)
    np.testing.assert_array_equal(outputs(copy), outputs(model))
    assert isinstance(copied(sequential_in_sequential()), keras.Sequential)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


class Doubling(keras.Model):
    """Has layers on record, and does something else with them."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


class Forgetful(layers.Layer):
    def __init__(self, factor, **settings):
        super().__init__(**settings)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return super().get_config()


def called_on_input(layer, **settings):
    inputs = keras.Input(settings.pop("shape", [4]), **settings)
    return keras.Model(inputs, layer(inputs))


def masked_inside():
    inner = keras.Sequential([keras.Input([5, 3]), layers.GlobalAveragePooling1D()], name="inner")
    inputs, mask = keras.Input([5, 3]), keras.Input([5], dtype="bool")
    return keras.Model([inputs, mask], inner(inputs, mask=mask))


def doubling():
    inputs = keras.Input([4])
    return Doubling(inputs, layers.Dense(2)(inputs))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Subclassed, r"'subclassed\w*' is a subclassed model \(Subclassed\)"),
        (doubling, r"is a subclassed model \(Doubling\)"),
        (lambda: called_on_input(Subclassed()), "is a subclassed model"),
        (lambda: keras.Sequential([layers.Dense(2)]), "was never built"),
        (lambda: called_on_input(Forgetful(2.0)), r"The layer 'forgetful\w*' cannot be made again"),
        (lambda: called_on_input(layers.Dense(2), sparse=True), "Only dense tensors of numbers"),
        (
            lambda: called_on_input(layers.StringLookup(vocabulary=["a"]), dtype="string"),
            "Only dense tensors of numbers",
        ),
        (masked_inside, "'inner' inside the model was called with a mask"),
    ],
)
def test_what_cannot_be_built_anew_is_refused(build, message):
    model = build()
    with pytest.raises(ValueError, match=message):
        rebuild(model)


def test_an_output_that_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match="is a shape"):
        rebuild(called_on_input(layers.ReLU()), lambda use: object())
