"""Tables of texts: what is read from them, and what is refused."""

import numpy as np
import pytest

from tfcompress import data
from tfcompress.data import DataConfig
from tfcompress.data.sets import text
from tfcompress.tokenizer import TokenIds

ROWS = [("a good film", "up"), ('so "bad" , really', "down"), ("fine", "up"), ("dull", "down")]


def write(path, rows=ROWS, header="sentence\tlabel", *, times=1):
    lines = [header, *("\t".join(row) for row in rows * times)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path, **options):
    return text.published(DataConfig(name=f"text:{path}", **options), str(path))


def tokenize(texts):
    """One id for each letter."""
    ids = np.zeros([len(texts), 6], np.int32)
    for row, found in zip(ids, texts, strict=True):
        row[: len(found)] = [ord(letter) for letter in found[:6]]
    return TokenIds(ids, sum(len(found) > 6 for found in texts))


def test_a_table_of_classes(tmp_path):
    found = read(write(tmp_path / "x.tsv"))
    assert (found.classes, found.targets, found.test) == (("down", "up"), (), None)
    assert found.train.texts == tuple(sentence for sentence, _ in ROWS)
    assert found.train.labels.tolist() == [1, 0, 1, 0]


def test_numbers_of_classes_keep_their_order(tmp_path):
    rows = [("a", "10"), ("b", "2"), ("c", "1")]
    assert read(write(tmp_path / "x.tsv", rows)).classes == ("1", "2", "10")


def test_a_csv_has_quotation_marks_and_lines_within(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('text,label\n"one, ""two""\nthree",a\nfour,b\n', encoding="utf-8")
    assert read(path).train.texts == ('one, "two"\nthree', "four")


@pytest.mark.parametrize("beside", ["test", "dev", "validation"])
def test_a_published_test_split_stands_beside_train(tmp_path, beside):
    path = write(tmp_path / "train.tsv")
    write(tmp_path / f"{beside}.tsv", ROWS[:1])
    assert read(path).test.texts == ("a good film",)
    assert read(path).validation is None


@pytest.mark.parametrize("beside", ["dev", "validation"])
def test_a_published_validation_split_stands_beside_train_and_test(tmp_path, beside):
    path = write(tmp_path / "train.tsv", times=50)
    write(tmp_path / "test.tsv", ROWS[:1])
    write(tmp_path / f"{beside}.tsv", ROWS[1:])
    found = read(path)
    assert (found.test.texts, len(found.train.texts)) == (("a good film",), 200)
    assert found.validation.texts == ('so "bad" , really', "fine", "dull")
    assert found.validation.labels.tolist() == [0, 1, 0]
    said = []
    config = DataConfig(name=f"text:{path}")
    loaded = data.load(config, tokenize=tokenize, note=said.append)
    assert loaded.published_validation
    # A tenth of train is for calibration, nothing of it for validation.
    sizes = {"train": 180, "validation": 3, "calibration": 20, "test": 1}
    assert loaded.split_sizes() == sizes
    assert sorted([*loaded.train.ids, *loaded.calibration.ids]) == list(range(200))
    assert said == ["102 of 204 texts are longer than 6 tokens and were cut"]


def test_two_files_that_could_be_the_validation_split_are_refused(tmp_path):
    path = write(tmp_path / "train.tsv")
    for name in ("dev", "validation"):
        write(tmp_path / f"{name}.tsv")
    with pytest.raises(ValueError, match=r"holds dev.tsv and validation.tsv, either of which"):
        read(path)


def test_values_are_published_with_a_validation_split_too(tmp_path):
    rows = [("a", "1.5"), ("b", "2")]
    for name in ("train", "dev", "test"):
        write(tmp_path / f"{name}.tsv", rows, "text\tstars")
    found = read(tmp_path / "train.tsv")
    assert found.validation.labels.tolist() == found.test.labels.tolist() == [[1.5], [2.0]]


def test_other_files_have_a_fifth_held_out(tmp_path):
    path = write(tmp_path / "x.tsv", times=50)
    said = []
    config = DataConfig(name=f"text:{path}", seed=3)
    found = data.load(config, tokenize=tokenize, note=said.append)
    assert found.is_text
    assert len(found.test) == 40
    assert np.bincount(found.test.labels).tolist() == [20, 20]
    assert said == ["100 of 200 texts are longer than 6 tokens and were cut"]
    again = data.load(DataConfig(name=f"text:{path}", seed=4), tokenize=tokenize)
    assert again.test.ids.tolist() == found.test.ids.tolist()


def test_values_in_their_own_column_or_as_labels(tmp_path):
    rows = [("a", "1.5"), ("b", "2")]
    found = read(write(tmp_path / "x.tsv", rows, "text\tstars"))
    assert (found.targets, found.train.labels.tolist()) == (("stars",), [[1.5], [2.0]])
    assert read(write(tmp_path / "y.tsv", rows)).targets == ("label",)
    whole = write(tmp_path / "z.tsv", [("a", "1"), ("b", "2")])
    assert read(whole, task="regression").targets == ("label",)
    assert read(whole).classes == ("1", "2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds nothing. Expected a first row"),
        ("sentence\tlabel\n", "holds no row. Expected a first row"),
        ("words\tlabel\na\t1\nb\t2\n", "no column sentence or text. Received: words, label"),
        ("sentence\tclass\na\tx\nb\ty\n", "no column label. Received: sentence, class"),
        ("sentence\tlabel\na\t1\nb\n", "line 3: expected 2 cells, for sentence, label. Rec"),
        ("sentence\tlabel\na\t1\n \t2\n", "line 3: there is no text"),
        ("sentence\tlabel\na\tx\nb\t\n", "line 3: there is no label"),
        ("sentence\tlabel\na\tx\n\0b\ty\n", "line 3: there is a NUL byte"),
        ("sentence\tlabel\tlabel\na\tx\ty\n", "columns that are named alike: 'label'"),
        ("sentence\tsentence \tlabel\na\tb\ty\n", "columns that are named alike: 'sentence'"),
        ("sentence\tlabel\na\tx\nb\tx\n", "has one class: x. A classifier needs two or more"),
        (
            "sentence\tlabel\n" + "".join(f"a\t{i}\n" for i in range(101)),
            "label could be classes or values. Received: 101 distinct whole numbers",
        ),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, content, message):
    path = tmp_path / "x.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read(path)


@pytest.mark.parametrize(
    "content", ['text,label\n"one,a\ntwo,b\n', 'text,label\n"one" more,a\ntwo,b\n']
)
def test_a_csv_with_unbalanced_quotation_marks_is_refused(tmp_path, content):
    path = tmp_path / "x.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="is no CSV in UTF-8"):
        read(path)


def test_a_file_in_utf_16_is_refused(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("sentence\tlabel\na\t1\nb\t2\n", encoding="utf-16")
    with pytest.raises(ValueError, match="is no TSV in UTF-8"):
        read(path)
    path.write_bytes("sentence\tlabel\na\t1\nb\t2\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"there is a NUL byte.*UTF-16"):
        read(path)


def test_a_class_that_train_lacks_is_refused(tmp_path):
    path = write(tmp_path / "train.tsv")
    write(tmp_path / "test.tsv", [("a", "up"), ("b", "sideways")])
    with pytest.raises(ValueError, match=r"test.tsv, line 3: the label 'sideways' is no class"):
        read(path)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    path = write(tmp_path / "x.tsv")
    with pytest.raises(ValueError, match="column label of finite numbers"):
        read(path, task="regression")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no table of texts. Expected a .tsv or .csv file"):
        read(tmp_path / "x.json")
    (tmp_path / "x.tsv").write_bytes(b"sentence\tlabel\n\xff\t1\n")
    with pytest.raises(ValueError, match="no TSV in UTF-8"):
        read(tmp_path / "x.tsv")


def test_texts_need_a_tokenizer_and_images_have_none(tmp_path):
    name = f"text:{write(tmp_path / 'x.tsv')}"
    with pytest.raises(ValueError, match=r"is of texts. Expected a text encoder"):
        data.load(DataConfig(name=name))
    with pytest.raises(ValueError, match=r"is of images. Expected a network for images"):
        data.load(DataConfig(name="mnist_sample"), tokenize=tokenize)
    with pytest.raises(ValueError, match="which have no size in pixels"):
        data.check(DataConfig(name=name, image_size=32))
    with pytest.raises(ValueError, match=r"is of images. Received: task text"):
        data.check(DataConfig(name="mnist_sample", task="text"))


def test_names_of_tfds_are_texts_where_the_task_says_so():
    assert data.is_text(DataConfig(name="glue/sst2", task="text"))
    assert not data.is_text(DataConfig(name="mnist"))


def test_values_with_one_that_is_none_are_no_classes(tmp_path):
    rows = [*((f"text {n}", f"{n / 7:.3f}") for n in range(30)), ("odd", "nan")]
    path = write(tmp_path / "x.tsv", rows)
    with pytest.raises(ValueError, match=r"line 32: most labels are values, and 'nan' is no"):
        read(path)
    assert len(read(path, task="classification").classes) == 31


def test_labels_hardly_two_of_which_are_alike_are_refused(tmp_path):
    rows = [(f"text {n}", f"word{n}") for n in range(150)]
    with pytest.raises(ValueError, match="150 labels of 150 texts are different"):
        read(write(tmp_path / "x.tsv", rows))
    # As of a data set of intents: many classes, each of several texts.
    intents = [(f"text {n}", f"intent{n % 150}") for n in range(450)]
    assert len(read(write(tmp_path / "y.tsv", intents)).classes) == 150


def test_another_kind_of_file_beside_train_is_refused(tmp_path):
    path = write(tmp_path / "train.tsv")
    (tmp_path / "test.csv").write_text("sentence,label\nfine,up\n")
    with pytest.raises(ValueError, match=r"test\.csv beside train\.tsv.*Save all of them as \.tsv"):
        read(path)


def test_a_test_split_without_labels_is_refused_with_what_to_do(tmp_path):
    path = write(tmp_path / "train.tsv")
    write(tmp_path / "test.tsv", [("0", "a film")], header="index\tsentence")
    with pytest.raises(
        ValueError, match=r"no column label.*published without labels, move it away"
    ):
        read(path)


def test_a_text_may_be_long(tmp_path):
    long = "word " * 40_000
    found = read(write(tmp_path / "x.tsv", [*ROWS, (long, "up")]))
    assert found.train.texts[-1] == long
