"""A training of a moment: four classes of small pictures, and a network that learns them."""

import numpy as np

from tfcompress.goals import Classes
from tfcompress.training import Batches


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
