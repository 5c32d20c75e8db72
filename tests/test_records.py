"""Dataclasses from JSON: what fits comes back, what does not is refused."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pytest

from tfcompress import records
from tfcompress.records import differences


@dataclass(frozen=True)
class Inner:
    """A part of a record."""

    name: str
    share: float | None = None


@dataclass(frozen=True)
class Outer:
    """A record with every kind of field that records of this package have."""

    count: int
    parts: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (0, "")
    by_name: dict[str, Inner] | None = None
    free: Mapping[str, object] | None = None


def test_what_json_makes_of_a_record_comes_back_as_it_was():
    outer = Outer(3, (Inner("a", 1), Inner("b")), (1, "x"), {"c": Inner("c", 0.5)}, {"any": [1]})
    json_of = {**asdict(outer), "parts": [asdict(part) for part in outer.parts], "pair": [1, "x"]}
    assert records.from_record(Outer, json_of) == outer
    assert records.from_record(Outer, {"count": 3}) == Outer(3)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"count": "3"}, "'3' where int is expected"),
        ({}, "missing 1 required positional argument: 'count'"),
        ({"count": 3, "more": 1}, r"unknown field \['more'\]"),
        ({"count": 3, "parts": {"name": "a"}}, "where tuple is expected"),
        ({"count": 3, "parts": [{"name": 1}]}, "1 where str is expected"),
        ({"count": 3, "pair": [1, "x", 2]}, "3 values where 2 are expected"),
        ({"count": 3, "by_name": []}, "where dict is expected"),
        ([3], r"\[3\] where Outer is expected"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(record, message):
    with pytest.raises(TypeError, match=message):
        records.from_record(Outer, record)


def test_differences_names_new_and_missing_fields():
    assert differences({"a": 1, "b": {"c": 2}}, {"b": {"c": 3, "d": 4}}) == [
        "a: 1 -> None",
        "b.c: 2 -> 3",
        "b.d: None -> 4",
    ]
