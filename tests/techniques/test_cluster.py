"""Clustering: k-means by hand, the three initializations, shared weights in training."""

import numpy as np
import pytest

from tfcompress.techniques import cluster
from tfcompress.techniques.cluster import ClusteringConfig, cluster_values


def clustered(values, clusters, initialization="linear", **options):
    config = ClusteringConfig(clusters, initialization, **options)
    return cluster_values(np.array(values, np.float32), config)


@pytest.mark.parametrize("initialization", cluster.INITIALIZATIONS)
def test_two_clear_groups_become_their_means(initialization):
    found = clustered([0.9, 5.2, 1.0, 1.1, 4.8], 2, initialization)
    np.testing.assert_allclose(found, [1.0, 5.0, 1.0, 1.0, 5.0], rtol=1e-6)


def test_k_means_by_hand():
    # Linear start at 1, 5.5 and 10: {1, 2, 3}, {4, 5}, {10}; means 2, 4.5 and 10; then 3 stays with
    # 2 (edge at 3.25), so that this is the end.
    np.testing.assert_allclose(clustered([1, 2, 3, 4, 5, 10], 3), [2, 2, 2, 4.5, 4.5, 10])


def test_density_starts_at_quantiles():
    ordered = np.arange(8.0)
    config = ClusteringConfig(2, "density")
    # The quantiles 1/4 and 3/4 of 0 to 7.
    assert cluster._initial(ordered, 2, config).tolist() == [1.75, 5.25]


def test_linear_starts_evenly():
    config = ClusteringConfig(3, "linear")
    assert cluster._initial(np.array([-1.0, 0, 3]), 3, config).tolist() == [-1, 1, 3]


def test_kmeans_plus_plus_is_seeded_and_never_takes_a_value_twice():
    ordered = np.sort(np.random.default_rng(0).normal(size=30))
    starts = [
        cluster._initial(ordered, 30, ClusteringConfig(30, "kmeans++", seed=seed))
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_allclose(starts[0], ordered)
    few = [
        cluster._initial(ordered, 5, ClusteringConfig(5, "kmeans++", seed=seed)).tolist()
        for seed in (0, 1)
    ]
    assert few[0] != few[1]


@pytest.mark.parametrize("initialization", cluster.INITIALIZATIONS)
@pytest.mark.parametrize("clusters", [2, 3, 16, 256])
def test_no_more_values_than_clusters_and_every_weight_at_its_nearest(initialization, clusters):
    values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    found = clustered(values, clusters, initialization)
    centroids = np.unique(found)
    assert len(centroids) <= clusters
    distance = np.abs(values[..., None] - centroids)
    np.testing.assert_allclose(np.abs(values - found), distance.min(-1), atol=1e-5)
    assert found.dtype == np.float32
    assert found.shape == values.shape


def test_every_cluster_is_used():
    """A far outlier leaves evenly spaced centroids without members."""
    values = np.concatenate([np.random.default_rng(0).normal(size=500), [1000.0]])
    assert len(np.unique(clustered(values, 16))) == 16


@pytest.mark.parametrize("initialization", cluster.INITIALIZATIONS)
def test_zeros_are_kept_and_count_as_one_value(initialization):
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    values[:400] = 0
    found = clustered(values, 8, initialization)
    np.testing.assert_array_equal(found == 0, values == 0)
    assert len(np.unique(found)) <= 8


def test_a_chance_zero_takes_no_value():
    found = clustered([0, 0.2, 1.0, 1.2, *[5.0] * 20], 2)
    np.testing.assert_allclose(np.unique(found), [0.6, 5.0])


@pytest.mark.parametrize("values", [[1, 2, 2, 1], [3, 3, 3], [0, 0, 0]])
def test_fewer_values_than_clusters_stay(values):
    assert clustered(values, 4).tolist() == values


def test_the_callers_array_stays_as_it_is():
    values = np.array([1.0, 1.2, 5.0], np.float32)
    found = cluster_values(values, ClusteringConfig(2))
    found[:] = 0
    assert values.tolist() == pytest.approx([1.0, 1.2, 5.0])


def test_the_members_of_a_cluster_move_by_their_mean_gradient():
    """One step of gradient descent on the mean of the outputs, whose gradient is the input."""
    from tfcompress._keras import keras, tf

    inputs = keras.Input([4])
    layer = keras.layers.Dense(2, use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.array([[1, 1], [1, 2], [2, 2], [0, 0]], np.float32)])
    config = ClusteringConfig(3)
    wrapped = cluster.wrap(model, config, steps_per_epoch=1, epochs=1)
    wrapped.compile(keras.optimizers.SGD(1.0), lambda y, out: tf.reduce_sum(out * y))
    images, weights = np.array([[1.0, 2, 3, 4]], np.float32), np.array([[1.0, 10]], np.float32)
    wrapped.fit(images, weights, callbacks=cluster.callbacks(config), verbose=0)
    # Gradients [[1, 10], [2, 20], [3, 30], [4, 40]]: ones 1, 10, 2; twos 20, 3, 30; zeros stay.
    ones, twos = 1 - 13 / 3, 2 - 53 / 3
    expected = [[ones, ones], [ones, twos], [twos, twos], [0, 0]]
    np.testing.assert_allclose(wrapped.get_weights()[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("skip", "treated"),
    [("", {"conv", "pointwise", "logits"}), ("conv", {"pointwise", "logits"})],
)
def test_what_is_skipped_is_reported_and_stays(digits, skip, treated):
    config = ClusteringConfig(16, skip=skip)
    wrapped = cluster.wrap(digits.model, config, steps_per_epoch=1, epochs=1)
    report = cluster.report(digits.model, wrapped, config)
    assert {layer.name for layer in report.layers if layer.treated} == treated
    for layer in report.layers:
        before = digits.model.get_layer(layer.name).get_weights()[0]
        same = np.array_equal(wrapped.get_layer(layer.name).get_weights()[0], before)
        assert same == (layer.name not in treated)


@pytest.mark.parametrize("config", [ClusteringConfig(16, skip="*"), ClusteringConfig(256)])
def test_a_model_without_anything_to_cluster_is_refused(config):
    from tfcompress._keras import keras

    inputs = keras.Input([8])
    model = keras.Model(inputs, keras.layers.Dense(32)(inputs))
    with pytest.raises(ValueError, match="can treat no layer"):
        cluster.wrap(model, config, steps_per_epoch=1, epochs=1)


def test_a_layer_that_is_skipped_learns_freely_though_some_weights_are_equal(digits):
    """Clustering one layer ties no weights of another that happen to be equal."""
    from tfcompress._keras import keras

    values = digits.model.get_layer("depthwise").get_weights()[0]
    values[0, 0] = values[1, 1]
    wrapped = cluster.wrap(digits.model, ClusteringConfig(4), steps_per_epoch=1, epochs=1)
    wrapped.get_layer("depthwise").set_weights([values])
    wrapped.compile(
        keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    wrapped.fit(
        digits.train_inputs,
        digits.train_labels,
        verbose=0,
        callbacks=cluster.callbacks(ClusteringConfig(4)),
    )
    after = wrapped.get_layer("depthwise").get_weights()[0]
    assert (after[0, 0] != after[1, 1]).all()


def test_without_refinement_the_evenly_spaced_values_stay():
    values = np.array([1.0, 1.1, 1.2, 1.9, 2.0], np.float32)
    config = ClusteringConfig(2, refine=False)
    assert cluster_values(values, config).tolist() == [1, 1, 1, 2, 2]
    # k-means moves them to the means of {1, 1.1, 1.2} and {1.9, 2}.
    refined = cluster_values(values, ClusteringConfig(2))
    assert refined.tolist() == pytest.approx([1.1, 1.1, 1.1, 1.95, 1.95])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_kernel_of_half_precision_is_clustered(dtype):
    from tfcompress._keras import keras

    inputs = keras.Input([4], dtype=dtype)
    layer = keras.layers.Dense(2, use_bias=False, dtype=dtype)
    model = keras.Model(inputs, layer(inputs))
    values = np.array([[1, 1.5], [1, 1.5], [9, 10], [9, 10]])
    layer.set_weights([values.astype(layer.kernel.dtype.as_numpy_dtype)])
    found = cluster.wrap(model, ClusteringConfig(2), steps_per_epoch=1, epochs=1)
    assert found.get_weights()[0].dtype == layer.kernel.dtype.as_numpy_dtype
    assert found.get_weights()[0].tolist() == [[1.25, 1.25]] * 2 + [[9.5, 9.5]] * 2
    cluster.verify(found, ClusteringConfig(2))


def test_a_frozen_layer_is_left_as_it_is(digits):
    from tfcompress.graph.rebuild import copied

    model = copied(digits.model)
    model.get_layer("conv").trainable = False
    found = cluster.wrap(model, ClusteringConfig(4), steps_per_epoch=1, epochs=1)
    before, after = (m.get_layer("conv").get_weights()[0] for m in (model, found))
    np.testing.assert_array_equal(before, after)
    assert cluster.skipped(model, ClusteringConfig(4))["conv"].startswith("frozen: ")
