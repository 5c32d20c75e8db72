import subprocess
import sys

import numpy as np
import pytest

from tfcompress.data import DataConfig, check, load, names, tasks
from tfcompress.registry import UnknownNameError


def test_names_are_the_modules_with_their_arguments():
    assert names() == (
        "cifar10",
        "cifar10_sample",
        "fashion_mnist",
        "folder:DIR",
        "mnist",
        "mnist_rotation",
        "mnist_sample",
        "mnist_sample_rotation",
        "npz:FILE",
        "text:FILE",
    )


def test_unknown_name_lists_the_known_and_the_similar():
    with pytest.raises(UnknownNameError, match="cifra10") as caught:
        check(DataConfig(name="cifra10"))
    message = str(caught.value)
    assert all(name in message for name in names())
    assert "Of a similar name: cifar10" in message
    with pytest.raises(UnknownNameError):
        load(DataConfig(name="cifra10"))


@pytest.mark.parametrize("name", ["../x", "..", "x/../../y", "/x", "."])
def test_name_that_leads_out_of_the_directory_is_unknown(tmp_path, name):
    for folder in ("x", "data"):
        (tmp_path / folder).mkdir()
    with pytest.raises(UnknownNameError, match="Unknown data set"):
        check(DataConfig(name=name, data_dir=str(tmp_path / "data")))


@pytest.mark.parametrize("name", ["mnist", "mnist_sample", "cifar100", "emnist/letters"])
def test_known_names_pass(name):
    check(DataConfig(name=name))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(name="folder"), "must be written as folder:DIR"),
        (DataConfig(name="npz:"), "must be written as npz:FILE"),
        (DataConfig(name="mnist:3.0.1"), "must be written as mnist"),
        (DataConfig(name="folder:/no/such/place"), "/no/such/place does not exist"),
        (DataConfig(name="mnist_sample", source="registry"), "leave source at 'auto'"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_form_that_cannot_be_served_is_refused_before_any_work(config, message):
    with pytest.raises(ValueError, match=message):
        check(config)


def test_tilde_in_a_path_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pictures").mkdir()
    check(DataConfig(name="folder:~/pictures"))


def test_checking_a_name_needs_no_tensorflow():
    program = (
        "import sys; from tfcompress.data import *; check(DataConfig(name='cifar10'));"
        "check(DataConfig(name='cifar100')); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_image_size_resizes_any_data_set():
    kept = load(DataConfig(name="cifar10_sample"))
    resized = load(DataConfig(name="cifar10_sample", image_size=16))
    assert resized.image_shape == (16, 16, 3)
    # Halving without antialiasing averages each 2x2 block.
    blocks = kept.test.examples[:5].reshape(5, 16, 2, 16, 2, 3).astype(np.float32).mean((2, 4))
    np.testing.assert_allclose(resized.test.examples[:5], blocks, atol=0.51)


def test_the_task_is_known_before_anything_is_read(tmp_path):
    path = tmp_path / "data.npz"
    path.touch()
    assert tasks(DataConfig(name="cifar10")) == ("classification",)
    assert tasks(DataConfig(name="mnist_sample_rotation")) == ("regression",)
    assert tasks(DataConfig(name=f"npz:{path}")) == ("classification", "regression")
    assert tasks(DataConfig(name=f"npz:{path}", task="regression")) == ("regression",)


@pytest.mark.parametrize(
    ("name", "task", "is_a"),
    [
        ("mnist_sample", "regression", "classification"),
        ("cifar10", "regression", "classification"),
        ("mnist_rotation", "classification", "regression"),
    ],
)
def test_a_task_that_a_data_set_is_not_is_refused(name, task, is_a):
    with pytest.raises(ValueError, match=f"{name}' is a {is_a}. Received: task {task}"):
        check(DataConfig(name=name, task=task))


def test_an_unknown_task_is_refused():
    with pytest.raises(
        ValueError, match=r"auto, text, classification, regression\. Received: 'ranking'"
    ):
        DataConfig(task="ranking")
