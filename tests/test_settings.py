"""Settings of the wrong type are refused by the name of their field."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tfcompress.settings import require_types


@dataclasses.dataclass(frozen=True)
class Config:
    count: int = 1
    rate: float = 0.5
    limit: float | None = None
    on: bool = True
    name: str = ""
    other: Any = None

    def __post_init__(self) -> None:
        require_types(self)


@pytest.mark.parametrize(
    "settings",
    [{}, {"rate": 1}, {"limit": 0.5}, {"limit": None}, {"on": False}, {"other": [1]}],
    ids=str,
)
def test_what_fits_is_taken(settings: dict[str, Any]) -> None:
    assert Config(**settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"count": 1.5}, "Config.count must be a whole number. Received: 1.5."),
        ({"count": float("nan")}, "Config.count must be a whole number. Received: nan."),
        ({"count": True}, "Config.count must be a whole number. Received: True."),
        ({"rate": "0.5"}, "Config.rate must be a number. Received: '0.5'."),
        ({"rate": None}, "Config.rate must be a number. Received: None."),
        ({"limit": "x"}, "Config.limit must be a number. Received: 'x'."),
        ({"on": 1}, "Config.on must be true or false. Received: 1."),
        ({"name": None}, "Config.name must be text. Received: None."),
        ({"name": ["a"]}, r"Config.name must be text. Received: \['a'\]."),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Config(**settings)
