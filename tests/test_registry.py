"""A name is a module of a package folder."""

import pytest

from tfcompress import registry


def test_the_techniques_are_found():
    assert registry.names("techniques") == (
        "cluster",
        "distill",
        "factorize",
        "prune",
        "prune_channels",
        "ptq",
        "qat",
        "trim_vocabulary",
    )


@pytest.mark.parametrize("folder", ["techniques", "runtimes", "backbones", "data/sets"])
def test_names_are_sorted_and_public(folder):
    found = registry.names(folder)
    assert found
    assert list(found) == sorted(found)
    assert not [name for name in found if name.startswith("_")]


def test_load_gives_the_module():
    assert registry.load("techniques", "prune").__name__ == "tfcompress.techniques.prune"


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(
        registry.UnknownNameError, match=r"'shrink'.*Known: cluster, distill, factorize, prune"
    ):
        registry.load("techniques", "shrink")


def test_private_modules_cannot_be_loaded():
    with pytest.raises(registry.UnknownNameError):
        registry.load("techniques", "_qat_scheme")


def test_require_returns_the_name():
    assert registry.require("a", ("a", "b"), what="letter") == "a"
    with pytest.raises(ValueError, match=r"Unknown letter: 'c'\. Known: a, b\."):
        registry.require("c", ("a", "b"), what="letter")
