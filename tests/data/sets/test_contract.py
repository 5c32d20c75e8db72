import importlib
import inspect

import pytest

from tfcompress import registry
from tfcompress.data import sources


@pytest.mark.parametrize("name", registry.names("data/sets"))
def test_every_data_set_answers_the_contract(name):
    module = importlib.import_module(f"tfcompress.data.sets.{name}")
    assert list(inspect.signature(module.published).parameters) == ["config", "argument"]
    assert inspect.getdoc(module)
    # A form with an argument is no name of TFDS.
    assert not hasattr(module, "ARGUMENT") or hasattr(module, "SOURCE")


@pytest.mark.parametrize("name", sources.ORDER)
def test_every_source_answers_the_contract(name):
    module = importlib.import_module(f"tfcompress.data.sources.{name}")
    assert list(inspect.signature(module.obtain).parameters) == ["request"]
