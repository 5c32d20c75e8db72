"""The text form of a recipe."""

import pytest

from tfcompress.recipe import Recipe, RecipeError, Stage, parse


@pytest.mark.parametrize("text", ["", "  ", "none", " none "])
def test_nothing_to_do(text):
    assert parse(text) == Recipe()
    assert str(parse(text)) == ""


def test_terms_with_arguments_by_position_and_name():
    assert parse("prune(0.8, pattern=2:4) + qat") == Recipe(
        (Stage("prune", (0.8,), (("pattern", "2:4"),)), Stage("qat"))
    )


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("16", 16),
        ("-1", -1),
        ("0.80", 0.8),
        ("1e-3", 0.001),
        ("true", True),
        ("false", False),
        ("2:4", "2:4"),
        ("4x1", "4x1"),
        ("kmeans++", "kmeans++"),
        ("layer_*/key|conv1", "layer_*/key|conv1"),
        ("MobileNetV2", "MobileNetV2"),
        ('"sensitivity"', "sensitivity"),
        ("'2:4'", "2:4"),
    ],
)
def test_values(word, value):
    (stage,) = parse(f"t({word}, named={word})").stages
    assert stage.positional == (value,)
    assert dict(stage.options) == {"named": value}
    assert type(stage.positional[0]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "prune",
        "prune(0.8)+cluster(16)+qat",
        "prune(0.8, pattern=2:4, end=0.75)",
        "prune(learning_rate=1e-05)",
        "distill(temperature=1e+16)",
        "distill(student=resnet8, features=0.5)+qat+int8",
        "t(true, flag=false)",
        "cluster(8, initialization=kmeans++)",
    ],
)
def test_text_survives_a_round_trip(text):
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


def test_spaces_do_not_matter():
    assert parse(" prune ( 0.8 ,end = 0.5 )+ qat ( ) ") == parse("prune(0.8, end=0.5)+qat")


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("+qat", 1, "expected the name of a technique"),
        ("prune+", 7, "expected the name of a technique"),
        ("prune++qat", 7, "expected the name of a technique"),
        ("prune qat", 7, "expected '+' or the end"),
        ("prune(0.8", 6, "expected '+' or the end"),
        ("prune)", 6, "expected '+' or the end"),
        ("prune((0.8))", 6, "expected '+' or the end"),
        ("8", 1, "expected the name of a technique"),
        ("prune(0.8,)", 7, "cannot read the argument ''"),
        ("prune(end=)", 7, "cannot read the argument 'end='"),
        ("prune(=3)", 7, "cannot read the argument '=3'"),
        ("prune(a=b=3)", 7, "cannot read the argument 'a=b=3'"),
        ("prune(80%)", 7, "cannot read the argument '80%'"),
        ("prune(end=0.5, 0.8)", 7, "'0.8' follows a named argument"),
        ("qat+prune(end=0.5, end=0.6)", 11, "'end' is given twice"),
    ],
)
def test_what_cannot_be_read_is_shown_with_its_place(text, position, reason):
    with pytest.raises(RecipeError) as error:
        parse(text)
    assert str(error.value).startswith(f"Recipe {text!r}: {reason}")
    assert f"at character {position}." in str(error.value)
    assert "prune(0.8)+cluster(16)+qat" in str(error.value)
