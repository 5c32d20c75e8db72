import pytest

from tfcompress.data import sources
from tfcompress.data.sources import Request, SourceUnavailableError, download, prepared, registry


def refusing(reason, asked):
    def obtain(request):
        asked.append(reason)
        raise SourceUnavailableError(reason)

    return obtain


@pytest.fixture
def asked(monkeypatch):
    asked = []
    for module in (registry, prepared, download):
        name = module.__name__.rsplit(".", 1)[-1]
        monkeypatch.setattr(module, "obtain", refusing(f"{name} is closed", asked))
    return asked


def test_every_source_tried_is_listed_with_its_reason_in_order(asked):
    with pytest.raises(SourceUnavailableError) as caught:
        sources.first_available(Request("pictures"))
    assert str(caught.value) == (
        "Data set 'pictures' could not be had. Tried, in this order:\n"
        "  prepared: prepared is closed\n"
        "  download: download is closed\n"
        "  registry: registry is closed"
    )


def test_first_source_that_serves_ends_the_search(asked, monkeypatch):
    monkeypatch.setattr(download, "obtain", lambda request: f"{request.name} from download")
    assert sources.first_available(Request("pictures")) == "pictures from download"
    assert asked == ["prepared is closed"]


def test_forced_source_is_the_only_one_tried(asked):
    with pytest.raises(SourceUnavailableError, match="registry is closed"):
        sources.first_available(Request("pictures"), source="registry")
    assert asked == ["registry is closed"]
