import numpy as np
import pytest
from PIL import Image

from tfcompress._keras import tf
from tfcompress.data import DataConfig, load
from tfcompress.data.sets import folder
from tfcompress.image_files import read_image

ENCODERS = {
    ".png": lambda image: tf.io.encode_png(image).numpy(),
    ".jpg": lambda image: tf.io.encode_jpeg(image, quality=100).numpy(),
}


def put(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ENCODERS[path.suffix](image))


def picture(seed, shape=(6, 5, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def animals(tmp_path):
    for label, name in enumerate(("cat", "ape")):
        for index in range(20):
            put(tmp_path / name / f"{index:02d}.png", picture(100 * label + index))
    return tmp_path


def read(root, **settings):
    return folder.published(DataConfig(name=f"folder:{root}", **settings), str(root))


def test_a_fifth_of_each_class_is_held_out_whatever_the_seed(animals):
    published, other = read(animals), read(animals, seed=7)
    assert published.classes == ("ape", "cat")
    assert np.bincount(published.train.labels).tolist() == [16, 16]
    assert np.bincount(published.test.labels).tolist() == [4, 4]
    assert other.test.ids.tolist() == published.test.ids.tolist()
    assert sorted([*published.train.ids, *published.test.ids]) == list(range(40))


def test_ids_are_positions_in_the_sorted_files(animals):
    test = read(animals).test
    for image, label, position in zip(test.examples, test.labels, test.ids, strict=True):
        # ape/00 ... ape/19 (drawn with seeds 100 ...), then cat/00 ... cat/19 (seeds 0 ...).
        assert label == position // 20
        seed = 100 + position if position < 20 else position - 20
        np.testing.assert_array_equal(image, picture(seed))


def test_train_and_test_folders_are_the_published_splits(tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        for name in ("a", "b"):
            for index in range(count):
                put(tmp_path / part / name / f"{index}.jpg", picture(index))
    published = read(tmp_path)
    assert (len(published.train), len(published.test)) == (8, 4)


def test_it_loads_by_name(animals):
    dataset = load(DataConfig(name=f"folder:{animals}"))
    assert dataset.source == "folder"
    assert dataset.split_sizes() == {"train": 26, "validation": 3, "calibration": 3, "test": 8}


def test_grey_and_transparent_images_become_rgb_beside_rgb(tmp_path):
    put(tmp_path / "a" / "grey.png", np.full([6, 5, 1], 7, np.uint8))
    put(tmp_path / "a" / "rgb.png", picture(0))
    put(tmp_path / "b" / "rgba.png", picture(1, (6, 5, 4)))
    put(tmp_path / "b" / "rgb.png", picture(2))
    images = folder._read(tmp_path, ("a", "b"), image_size=0).examples
    assert images.shape == (4, 6, 5, 3)
    assert (images[0] == 7).all()
    np.testing.assert_array_equal(images[3], picture(1, (6, 5, 4))[..., :3])


def test_all_grey_images_stay_grey(tmp_path):
    for name in ("a", "b"):
        put(tmp_path / name / "0.png", picture(0, (6, 5, 1)))
    assert folder._read(tmp_path, ("a", "b"), image_size=0).examples.shape == (2, 6, 5, 1)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_pixels_are_those_that_an_exported_file_predicts_on(tmp_path, orientation):
    for name in ("a", "b"):
        put(tmp_path / name / "0.png", picture(0))
        image = Image.fromarray(picture(1, (24, 24, 3)))
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(tmp_path / name / "1.jpg", exif=exif)
    images = folder._read(tmp_path, ("a", "b"), image_size=24).examples
    np.testing.assert_array_equal(images[1], read_image(tmp_path / "a" / "1.jpg"))
    upright = {3: 2, 6: -1, 8: 1}[orientation]
    stored = np.rot90(images[1].astype(int), k=-upright)
    flat = tf.io.decode_jpeg((tmp_path / "a" / "1.jpg").read_bytes()).numpy()
    assert np.abs(stored - flat).max() < 16


def test_hidden_files_are_passed_over(animals):
    (animals / "cat" / ".thumbnails").write_text("x")
    (animals / ".git").mkdir()
    assert len(read(animals).classes) == 2


def test_broken_image_is_named(animals):
    path = animals / "cat" / "03.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cat/03.png \(60 bytes\) cannot be read"):
        read(animals)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"not an image"])
def test_file_without_an_image_is_named(animals, content):
    (animals / "cat" / "99.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"cat/99.jpg .* cannot be read"):
        read(animals)


def test_truncated_jpeg_is_named(animals):
    path = animals / "cat" / "99.jpg"
    put(path, picture(0, (64, 64, 3)))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"cat/99.jpg .* cannot be read"):
        read(animals)


def test_file_that_is_no_image_is_named(animals):
    (animals / "cat" / "labels.txt").write_text("cat")
    with pytest.raises(ValueError, match=r"cat/labels.txt is no image file"):
        read(animals)


def test_one_class_is_refused(tmp_path):
    put(tmp_path / "cat" / "0.png", picture(0))
    with pytest.raises(ValueError, match=r"two or more. Received: cat"):
        read(tmp_path)


def test_folder_of_loose_images_is_refused(tmp_path):
    put(tmp_path / "0.png", picture(0))
    with pytest.raises(ValueError, match=r"two or more. Received: none"):
        read(tmp_path)


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="file is no folder"):
        read(tmp_path / "file")


def test_class_without_images_is_refused(animals):
    (animals / "dog").mkdir()
    with pytest.raises(ValueError, match=r"dog holds no image"):
        read(animals)


def test_other_classes_in_test_are_refused(tmp_path):
    for path in ("train/a", "train/b", "test/a", "test/c"):
        put(tmp_path / path / "0.png", picture(0))
    with pytest.raises(ValueError, match=r"test has the classes a, c; .*train has a, b"):
        read(tmp_path)


def test_several_sizes_need_an_image_size(animals):
    put(animals / "cat" / "99.png", picture(0, (9, 7, 3)))
    with pytest.raises(ValueError, match=r"99.png is .9, 7., the first one .6, 5.*Set image_size"):
        read(animals)
    assert read(animals, image_size=4).train.examples.shape == (33, 4, 4, 3)


# Values instead of classes.


def faces(root, count=10, *, header="file,age_years", ages=None):
    lines = [header]
    for index in range(count):
        put(root / "images" / f"{index:02d}.png", picture(index))
        lines.append(f"images/{index:02d}.png,{index + 0.5 if ages is None else ages[index]}")
    (root / "targets.csv").write_text("\n".join(lines))
    return root


def test_a_table_makes_a_regression_of_which_a_fifth_is_held_out(tmp_path):
    published = read(faces(tmp_path))
    assert (published.classes, published.targets) == ((), ("age_years",))
    assert (len(published.train), len(published.test)) == (8, 2)
    for split in (published.train, published.test):
        np.testing.assert_array_equal(split.labels[:, 0], split.ids + 0.5)
        for image, position in zip(split.examples, split.ids, strict=True):
            np.testing.assert_array_equal(image, picture(position))


def test_tables_of_train_and_test_are_the_published_splits(tmp_path):
    for part, count in (("train", 6), ("test", 3)):
        faces(tmp_path / part, count)
    published = read(tmp_path)
    assert (len(published.train), len(published.test)) == (6, 3)
    faces(tmp_path / "test", 3, header="file,height_cm")
    with pytest.raises(ValueError, match=r"has the targets height_cm; .*train has age_years"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("ages", "says"),
    [(["old"] * 3, "line 2: expected a file"), (["nan"] * 3, "1 finite numbers"), ([], "1 rows")],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path, ages, says):
    with pytest.raises(ValueError, match=rf"targets.csv.*{says}"):
        read(faces(tmp_path, len(ages), ages=ages))


def test_a_file_that_is_missing_or_named_twice_is_told(tmp_path):
    table = faces(tmp_path, 3) / "targets.csv"
    kept = table.read_text()
    table.write_text(kept + "\nimages/00.png,3")
    with pytest.raises(ValueError, match="which an earlier row names too"):
        read(tmp_path)
    table.write_text(kept + "\nimages/99.png,3")
    with pytest.raises(ValueError, match=r"99\.png is no image file"):
        read(tmp_path)


def test_spellings_of_one_file_are_one_file(tmp_path):
    table = faces(tmp_path, 3) / "targets.csv"
    table.write_text(table.read_text() + "\n./images/00.png,3")
    with pytest.raises(ValueError, match="which an earlier row names too"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images/00.png,1\nimages/01.png,2\n", "must begin with names"),
        ("file,\nimages/00.png,1\n", "must begin with names"),
        ("file,age\n\nimages/00.png,1_000\n", "line 3: expected a file"),
        ("file,age\nimages/00.png,1e39\n", "line 2: expected a file"),
        ("file,age\nimages/00.png," + "1" * 200_000, "no CSV in UTF-8"),
    ],
    ids=["no names", "empty name", "underscore", "too large for float32", "huge field"],
)
def test_tables_that_would_be_misread_are_refused(tmp_path, text, said):
    table = faces(tmp_path, 3) / "targets.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=said):
        read(tmp_path)


def test_a_table_in_another_encoding_is_named(tmp_path):
    table = faces(tmp_path, 3) / "targets.csv"
    table.write_bytes("file,größe\nimages/00.png,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"targets\.csv is no CSV in UTF-8"):
        read(tmp_path)


def test_a_regression_without_a_table_is_refused(animals):
    with pytest.raises(ValueError, match=r"holds no targets\.csv"):
        read(animals, task="regression")
