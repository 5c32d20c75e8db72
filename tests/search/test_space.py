"""The text form of a space: what it holds, and what is refused."""

import pytest

from tfcompress import recipe
from tfcompress.search.space import Range, SpaceError, Words, parse


def texts(*spaces, levels=2):
    return [text for _, text in parse(spaces).points(levels)]


def test_a_recipe_is_a_space_of_one():
    assert texts("prune(0.8, pattern=2:4) + qat") == ["prune(0.8, pattern=2:4)+qat"]


def test_stages_words_and_ranges_are_combined():
    assert texts("{prune_channels({0.2..0.6}, of={macs|parameters})|none}+{qat|int8}") == [
        "prune_channels(0.2, of=macs)+qat",
        "prune_channels(0.2, of=macs)+int8",
        "prune_channels(0.2, of=parameters)+qat",
        "prune_channels(0.2, of=parameters)+int8",
        "prune_channels(0.6, of=macs)+qat",
        "prune_channels(0.6, of=macs)+int8",
        "prune_channels(0.6, of=parameters)+qat",
        "prune_channels(0.6, of=parameters)+int8",
        "qat",
        "int8",
    ]


def test_places_may_stand_in_places():
    found = texts("{{cluster({8..64 log})|none}+{qat|int8}|ptq}", levels=2)
    clusters = ["cluster(8)+qat", "cluster(8)+int8", "cluster(64)+qat", "cluster(64)+int8"]
    assert found == [*clusters, "qat", "int8", "ptq"]


def test_several_spaces_are_one_choice():
    space = parse(["prune({0.5..0.9})+int8", "qat"])
    assert space.domains["space"] == Words(("prune({0.5..0.9})+int8", "qat"))
    assert texts("prune({0.5..0.9})+int8", "qat", levels=1) == ["prune(0.7)+int8", "qat"]


def test_names_are_of_technique_and_setting():
    space = parse(
        ["{distill(temperature={1..8 log})|none}+prune({0.1..0.9/0.1})+qat(epochs={1..3})"]
    )
    assert space.domains == {
        "distill.temperature": Range(1, 8, log=True, whole=True),
        "distill or none": Words(("distill(temperature={1..8 log})", "none")),
        "prune.target_sparsity": Range(0.1, 0.9, step=0.1),
        "qat.epochs": Range(1, 3, whole=True),
    }


def test_equal_places_of_a_setting_are_one_choice_and_others_are_not():
    space = parse(["{prune({0.1..0.5})+qat|prune({0.1..0.5})+int8|prune({0.6..0.9})+int8}"])
    assert list(space.domains)[:2] == ["prune.target_sparsity", "prune.target_sparsity (2)"]


def test_only_places_of_the_chosen_chain_are_asked_for():
    asked = []

    def choose(name, domain):
        asked.append(name)
        return "none" if name == "prune or none" else "qat"

    assert parse(["{prune({0.1..0.5})|none}+{qat|int8}"]).recipe(choose) == "qat"
    assert asked == ["prune or none", "qat or int8"]


def test_words_may_stand_in_quotes():
    assert texts("prune(0.5, allocation=\"sensitivity\", skip='conv*')+{qat|int8}") == [
        "prune(0.5, allocation=sensitivity, skip=conv*)+qat",
        "prune(0.5, allocation=sensitivity, skip=conv*)+int8",
    ]


def test_numbers_of_ranges():
    assert Range(0.2, 0.8).spread(1) == [0.5]
    assert Range(0.0, 1.0, step=0.25).spread(4) == [0.0, 0.25, 0.75, 1.0]
    assert Range(1, 3, whole=True).spread(5) == [1, 2, 3]
    assert Range(1e-4, 1e-2, log=True).spread(3) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert Range(0.2, 0.8).text(0.34567) == "0.346"
    assert Range(8, 64, whole=True).text(16.0) == "16"


def test_every_recipe_of_a_space_can_be_read():
    for text in texts("{prune({1e-3..1e-1 log})|none}+{qat(epochs={1..3})|int8}", levels=4):
        recipe.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "The space is empty"),
        (" none ", "The space is empty"),
        ("prune({0.2..0.8", "has no end"),
        ("prune({0.8..0.2})", "the first number must be below the second"),
        ("prune({0.5..0.5})", "is empty"),
        ("prune({a..b})", "expected finite numbers"),
        ("prune({0.1..inf/0.1})", "expected finite numbers"),
        (f"prune({{0.1..1{'0' * 400}}})", "expected finite numbers"),
        ("prune({0.1..0.9/2})", "a step must be above 0"),
        ("prune({0..0.9 log})", "log takes numbers above 0"),
        ("prune({0.2..})", "expected LOW..HIGH"),
        ("prune({0.2|})", "expected words"),
        ("prune({0.2|0.2})", "each once"),
        ("{qat|int8", r"expected '\+', '\|' or '}' at character 10"),
        ("{qat|qat}", "given twice"),
        ("{qat|}", "expected the name of a technique"),
        ("prune(0.5)+", "expected the name of a technique"),
        ("prune(0.5))", r"expected '\+' or the end at character 11"),
        ("prune(0.5 0.6)", "expected ',' or"),
        ("prune(", "expected a value"),
    ],
)
def test_bad_texts_are_refused(text, says):
    with pytest.raises(SpaceError, match=says):
        parse([text])


def test_a_space_given_twice_is_refused():
    with pytest.raises(SpaceError, match="given twice"):
        parse(["qat", "qat"])
