"""Zeros and shared values that a training must not break."""

import numpy as np
import pytest

from tfcompress.graph.structure import MAX_GROUPS, KeepStructure


def trained(values, callback):
    from tfcompress._keras import keras

    values = np.asarray(values, np.float32)
    inputs = keras.Input([values.shape[0]])
    layer = keras.layers.Dense(values.shape[1], use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([values])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    images = np.random.default_rng(0).normal(size=(32, values.shape[0])).astype(np.float32)
    targets = np.random.default_rng(1).normal(size=(32, values.shape[1])).astype(np.float32)
    model.fit(images, targets, batch_size=8, epochs=2, callbacks=[callback], verbose=0)
    return layer.get_weights()[0]


def test_zeros_stay_and_the_rest_moves():
    values = np.random.default_rng(2).normal(size=(6, 4))
    values[::2] = 0
    found = trained(values, KeepStructure())
    np.testing.assert_array_equal(found == 0, values == 0)
    assert (found[1::2] != values[1::2].astype(np.float32)).all()


def test_equal_values_stay_equal_and_distinct():
    values = np.tile([[1.0, 2.0, 3.0, 0.0]], [6, 1])
    found = trained(values, KeepStructure(groups=lambda kernel: True))
    assert [len(np.unique(column)) for column in found.T] == [1, 1, 1, 1]
    assert len(np.unique(found)) == 4
    assert (found[:, 3] == 0).all()


def test_kernels_that_were_not_clustered_move_freely():
    values = np.tile([[1.0, 2.0, 3.0, 4.0]], [6, 1])
    found = trained(values, KeepStructure(groups=lambda kernel: False))
    assert len(np.unique(found)) == 24


def test_a_kernel_of_zeros_is_free():
    assert (trained(np.zeros([6, 4]), KeepStructure()) != 0).any()


def test_zeros_are_free_where_only_groups_are_kept():
    values = np.arange(24.0).reshape(6, 4)
    found = trained(values, KeepStructure(zeros=False))
    assert found[0, 0] != 0


def test_more_values_than_indices_are_no_groups():
    values = np.repeat(np.arange(1.0, MAX_GROUPS + 2), 2).reshape(-1, 2)
    found = trained(values / 100, KeepStructure(groups=lambda kernel: True))
    assert (found[:, 0] != found[:, 1]).all()


def test_a_shared_value_of_a_large_kernel_stays_where_nothing_moves_it():
    """A plain float32 mean of 400,000 times 0.1 is 0.1005: it grew by that at each step."""
    from tfcompress._keras import keras

    inputs = keras.Input([1000])
    layer = keras.layers.Dense(400, use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    values = np.full([1000, 400], 0.1, np.float32)
    values[0] = 0.3
    layer.set_weights([values])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    callback = KeepStructure(groups=lambda kernel: True)
    model.fit(
        np.ones([10, 1000]), np.ones([10, 400]), batch_size=1, callbacks=[callback], verbose=0
    )
    np.testing.assert_array_equal(layer.get_weights()[0], values)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_mean_of_a_group_in_half_precision_is_not_summed_in_it(dtype):
    """The sum of 6,000 ones would stop at 256 (bfloat16) or 2,048 (float16)."""
    from tfcompress._keras import keras

    inputs = keras.Input([3000], dtype=dtype)
    layer = keras.layers.Dense(4, use_bias=False, dtype=dtype)
    model = keras.Model(inputs, layer(inputs))
    values = np.tile(np.array([1.0, 1.0, 2.0, 0.0], np.float32), [3000, 1])
    layer.set_weights([values.astype(layer.kernel.dtype.as_numpy_dtype)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    callback = KeepStructure(groups=lambda kernel: True)
    model.fit(np.zeros([2, 3000]), np.zeros([2, 4]), batch_size=1, callbacks=[callback], verbose=0)
    np.testing.assert_array_equal(layer.get_weights()[0].astype(np.float32), values)
