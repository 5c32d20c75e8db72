"""Any Keras 2 model as one flat model of plain layers, and what has no such form."""

import sys

import numpy as np
import pytest

from tfcompress._keras import keras, tf
from tfcompress.graph.agreement import difference, random_inputs
from tfcompress.graph.normal_form import NormalFormError, is_normal, normalize

layers = keras.layers


def family(name):
    """The module of a network of Keras, for the layers that it brings along."""
    return sys.modules[getattr(keras.applications, name).__module__]


def model_of(function, *shapes, **settings):
    inputs = [keras.Input(shape, **settings) for shape in shapes or [(8, 8, 3)]]
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, function(*inputs))


def siamese():
    tower = keras.Sequential([keras.Input([8, 8, 3]), layers.Conv2D(4, 3), layers.Flatten()])
    return model_of(
        lambda left, right: layers.Dense(1)(tf.abs(tower(left) - tower(right))),
        (8, 8, 3),
        (8, 8, 3),
    )


def network_with_operators():
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 3, name="conv")(inputs / 255.0)
    x = x * tf.sigmoid(tf.reduce_mean(x, [1, 2], keepdims=True))
    return keras.Model(inputs, tf.nn.silu(x) + x, name="network")


def used_twice():
    inner = keras.Sequential([keras.Input([4]), layers.Dense(4)])
    doubled = keras.Model(inner.inputs, inner.outputs[0] * 2.0)
    return model_of(lambda x: doubled(doubled(x) + 1.0), (4,))


def names_clash():
    inputs = keras.Input([4])
    x = layers.Dense(4, name="rescaling")(inputs + 1.0)
    return keras.Model(inputs, layers.Dense(2, name="rescaling_1")(x * 3.0))


def dict_of_inputs():
    given = {name: keras.Input([4], name=name) for name in ("left", "right")}
    inner = keras.Model(given, {"sum": given["left"] + given["right"]})
    outer = {name: keras.Input([4], name=name) for name in ("left", "right")}
    return keras.Model(outer, {"score": layers.Dense(1)(inner(outer)["sum"])})


def sequential_in_sequential():
    inner = keras.Sequential([layers.BatchNormalization(), layers.ReLU()])
    return keras.Sequential([keras.Input([8, 8, 3]), layers.Conv2D(4, 3), inner, layers.Flatten()])


def parts_and_states():
    inputs = keras.Input([6, 4])
    first, second = tf.split(inputs, 2, axis=1)
    outputs, state = layers.SimpleRNN(3, return_state=True, unroll=True)(first)
    last = layers.SimpleRNN(3, unroll=True)(second, initial_state=[state])
    return keras.Model(inputs, [outputs * 2.0, last])


def attention():
    inputs = keras.Input([6, 8])
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(inputs, inputs) + inputs)
    return keras.Model(inputs, tf.reduce_mean(x, axis=1))


def text():
    inputs = keras.Input([None], dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(10, 8)(inputs))
    return keras.Model(inputs, tf.nn.tanh(x))


def half_precision():
    policy = "mixed_float16"
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 3, dtype=policy)(inputs / 255.0)
    x = x * (tf.nn.relu6(x + 3.0) / 6.0) + tf.nn.sigmoid(x)
    return keras.Model(inputs, layers.Dense(2, dtype="float32")(layers.Flatten(dtype=policy)(x)))


MODELS = {
    function.__name__: function
    for function in (
        siamese,
        network_with_operators,
        used_twice,
        names_clash,
        dict_of_inputs,
        sequential_in_sequential,
        parts_and_states,
        attention,
        text,
        half_precision,
    )
}


def randomize(model):
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(-0.5, 1, w.shape) for w in model.get_weights()])


def outputs(model):
    inputs = tf.nest.pack_sequence_as(model._nested_inputs, random_inputs(model))
    return model(inputs, training=False)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def described(model):
    return [(type(layer).__name__, layer.get_config()) for layer in model.layers]


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_normal_form_computes_the_same_and_keeps_its_form(build, tmp_path):
    model = build()
    randomize(model)
    expected = outputs(model)
    normal = normalize(model)
    assert not is_normal(model)
    assert is_normal(normal)
    received = outputs(normal)
    tf.nest.assert_same_structure(expected, received)
    tolerance = 1e-2 if build is half_precision else 1e-6
    for one, other in zip(tf.nest.flatten(expected), tf.nest.flatten(received), strict=True):
        assert difference(one, other) <= tolerance
    assert len(normal.trainable_weights) == len(model.trainable_weights)
    assert normal.name == model.name
    again = normalize(normal)
    assert described(again) == described(normal)
    normal.save(tmp_path / "normal.keras")
    loaded = keras.models.load_model(tmp_path / "normal.keras", compile=False)
    for one, other in zip(tf.nest.flatten(received), tf.nest.flatten(outputs(loaded)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_are_a_copys_own():
    model = network_with_operators()
    normal = normalize(model)
    normal.get_layer("conv").kernel.assign(tf.zeros_like(normal.get_layer("conv").kernel))
    assert np.any(model.get_layer("conv").kernel.numpy() != 0)
    assert not is_normal(model)


def test_layers_made_of_operators_get_names_that_no_layer_has():
    assert [layer.name for layer in normalize(names_clash()).layers[1:]] == [
        "rescaling_2",
        "rescaling",
        "rescaling_3",
        "rescaling_1",
    ]
    assert [layer.name for layer in normalize(network_with_operators()).layers[1:]] == [
        "rescaling",
        "conv",
        "global_average_pooling2d",
        "activation",
        "multiply",
        "activation_1",
        "add",
    ]


def test_plain_models_stay_as_they_are():
    inputs = keras.Input([8, 8, 3], name="image")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.RandomFlip()(x)
    x = layers.Conv2D(4, 3, activation="hard_sigmoid")(x)
    x = layers.GaussianNoise(0.1)(x)
    x = layers.Activation("hard_sigmoid")(x)
    x = layers.ActivityRegularization(0.1)(layers.SpatialDropout2D(0.2)(x))
    x = layers.Multiply()([x, x])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))
    assert is_normal(model)
    assert described(normalize(model)) == described(model)


def test_input_that_is_an_output_too():
    normal = normalize(model_of(lambda x: [x, tf.identity(x), x + 1.0]))
    assert kinds(normal) == ["InputLayer", "Rescaling"]
    images = np.ones([1, 8, 8, 3], np.float32)
    first, second, third = normal(images)
    assert np.all(first == 1)
    assert np.all(second == 1)
    assert np.all(third == 2)


def test_shared_layer_around_an_operator():
    dense = layers.Dense(4)
    normal = normalize(model_of(lambda x: dense(tf.nn.relu(dense(x))), (4,)))
    assert kinds(normal) == ["InputLayer", "Dense", "ReLU"]
    assert len(normal.layers[1]._inbound_nodes) == 2


def test_operators_of_a_backbone_in_inference():
    backbone = network_with_operators()
    normal = normalize(model_of(lambda x: layers.Flatten()(backbone(x, training=False))))
    assert kinds(normal)[-2:] == ["Add", "Flatten"]


# Layers that networks of Keras bring along.


def test_fraction_of_a_residual_becomes_rescaling_and_sum():
    layer = family("InceptionResNetV2").CustomScaleLayer(0.25, name="mixed")
    model = model_of(lambda x: layer([x, tf.nn.relu(x)]), (4,))
    normal = normalize(model)
    assert kinds(normal) == ["InputLayer", "ReLU", "Rescaling", "Add"]
    assert normal.layers[-1].name == "mixed"
    assert normal(np.float32([[-8, 0, 4, 8]])).numpy().tolist() == [[-8, 0, 5, 10]]


def test_layer_scale_becomes_a_trained_factor():
    layer = family("ConvNeXtTiny").LayerScale(0.5, 3, name="scale")
    model = model_of(lambda x: layer(x))
    layer.set_weights([np.float32([1, 2, 3])])
    normal = normalize(model)
    scale = normal.get_layer("scale")
    assert type(scale).__name__ == "ChannelScale"
    assert scale.gamma.numpy().tolist() == [1, 2, 3]
    assert [weight.name for weight in normal.trainable_weights] == ["scale/gamma:0"]
    layer.trainable = False
    assert normalize(model).trainable_weights == []


def test_stochastic_depth_becomes_dropout_of_whole_examples():
    layer = family("ConvNeXtTiny").StochasticDepth(0.5, name="depth")
    normal = normalize(model_of(lambda x: layer(x)))
    dropout = normal.get_layer("depth")
    assert type(dropout).__name__ == "Dropout"
    ones = np.ones([64, 8, 8, 3], np.float32)
    np.testing.assert_array_equal(normal(ones, training=False), ones)
    keras.utils.set_random_seed(0)
    kept = normal(ones, training=True).numpy().reshape(64, -1)
    # An example is dropped, or doubled, so that the mean stays.
    assert set(np.unique(kept)) == {0, 2}
    assert np.all(kept == kept[:, :1])


@pytest.mark.parametrize("axis", [-1, (1, 3), None], ids=str)
@pytest.mark.parametrize("invert", [False, True])
def test_adapted_normalization_has_its_statistics_in_its_description(axis, invert):
    images = np.random.default_rng(0).normal(100, 50, [16, 8, 8, 3]).astype(np.float32)
    layer = layers.Normalization(axis=axis, invert=invert, name="normalization")
    layer.adapt(images)
    model = model_of(lambda x: layers.Conv2D(2, 3)(layer(x)))
    normal = normalize(model)
    np.testing.assert_allclose(normal(images), model(images), rtol=1e-6)
    assert normal.get_layer("normalization").weights == []
    # Without a call of finalize_state, which a clone does not make.
    clone = keras.models.clone_model(normal)
    clone.set_weights(normal.get_weights())
    np.testing.assert_array_equal(clone(images), normal(images))


def test_written_out_hard_swish_is_recognised_in_layers_too():
    gated = model_of(lambda x: layers.Multiply()([x, layers.ReLU(6.0)(x + 3.0) * (1 / 6)]))
    assert kinds(normalize(gated)) == ["InputLayer", "HardSwish"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: layers.ReLU(6.0, negative_slope=0.1)(x + 3.0) / 6.0,
        lambda x: layers.ReLU(6.0, threshold=0.5)(x + 3.0) / 6.0,
        lambda x: layers.ReLU(6.0)(layers.Rescaling(2.0, 3.0)(x)) / 6.0,
        lambda x: layers.ReLU(6.0)(x + np.float32([3, 3, 2])) / 6.0,
        lambda x: layers.ReLU(6.0)(x + 3.0) / 5.0,
        lambda x: layers.ReLU(5.0)(x + 3.0) / 6.0,
        lambda x: layers.Multiply()([x, layers.ReLU(6.0)(x + 3.0) / 5.0]),
    ],
)
def test_what_is_almost_hard_swish_is_left_as_it_is(function):
    normal = normalize(model_of(function))
    assert not {"HardSigmoid", "HardSwish"} & set(kinds(normal))


def test_half_precision_stays_where_it_is():
    types = {layer.name: layer.output.dtype.name for layer in normalize(half_precision()).layers}
    assert types["hard_swish"] == types["add"] == "float16"
    assert types["rescaling"] == "float32"


class Scale(layers.Layer):
    """A user's own layer."""

    def __init__(self, factor, **settings):
        super().__init__(**settings)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def test_layers_of_a_users_own_are_kept():
    normal = normalize(model_of(lambda x: Scale(3.0, name="mine")(x) + 1.0, (2,)))
    assert type(normal.get_layer("mine")) is Scale
    assert normal(np.float32([[1, 2]])).numpy().tolist() == [[4, 7]]


# What has no normal form.


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def lambda_inside():
    inner = keras.Sequential([keras.Input([4]), layers.Lambda(lambda x: x * 2, name="double")])
    return model_of(lambda x: inner(x), (4,))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: model_of(lambda x: layers.Lambda(lambda y: y * 2, name="double")(x)),
            r"The layer 'double' is a Lambda: it holds Python code.* Write it with Keras layers",
        ),
        (lambda_inside, r"The layer 'double' is a Lambda"),
        (
            lambda: model_of(
                lambda x: layers.TimeDistributed(layers.Lambda(lambda y: y, name="own"), name="td")(
                    x
                )
            ),
            r"The layer 'own' inside 'td' \(TimeDistributed\) is a Lambda",
        ),
        (
            lambda: model_of(lambda x: layers.Conv2D(2, 1, activation=lambda y: y, name="conv")(x)),
            r"The layer 'conv' has a Python lambda as its activation.* one of Keras' activations",
        ),
        (
            lambda: model_of(lambda x: Subclassed(name="inner")(x)),
            r"The model 'inner' is a subclassed model \(Subclassed\)",
        ),
        (
            lambda: model_of(lambda x: tf.math.cumsum(x, axis=1)),
            r"The layer 'tf.math.cumsum\w*' has no plain form\. The operator 'tf.math.cumsum' has",
        ),
        (
            lambda: model_of(lambda x: layers.Embedding(9, 2)(tf.shape(x)[1:])),
            r"\(Embedding\) takes a shape that is computed in the model",
        ),
        (
            lambda: model_of(lambda x: layers.Dropout(0.5)(x + 1.0, training=True)),
            "differ from call to call. Pass check=False",
        ),
    ],
)
def test_what_has_no_normal_form_is_refused_with_what_to_do(build, message):
    model = build()
    with pytest.raises(ValueError, match=message):
        normalize(model)


def test_a_model_that_is_random_in_inference_is_taken_unchecked():
    model = model_of(lambda x: layers.Dropout(0.5)(x + 1.0, training=True))
    assert kinds(normalize(model, check=False)) == ["InputLayer", "Rescaling", "Dropout"]


def test_no_operator_outside_the_table_is_run():
    ran = []

    def harm(values):
        ran.append(values)
        return values

    model = model_of(lambda x: tf.numpy_function(harm, [x], tf.float32))
    with pytest.raises(NormalFormError, match=r"'tf\.numpy_function' has no layer"):
        normalize(model)
    assert ran == []
