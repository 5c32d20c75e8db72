"""Tables of profiles, worked out by hand."""

from __future__ import annotations

import pytest

from tfcompress.benchmark_record import Profiled
from tfcompress.operator_profile import OperatorTime
from tfcompress.report import profile_tables, table_text


def tables(profile, *, slowest=0, reason=None):
    return list(
        profile_tables.tables(Profiled("a", "litert_cpu", 1, 2, profile, reason), slowest=slowest)
    )


def test_the_table_accounts_for_the_whole_call(made_profile):
    by_name, single = tables(made_profile(), slowest=1)
    assert by_name.title == "Where the time of a on litert_cpu goes, 1 thread, batch 2"
    assert by_name.note.startswith("builtin kernels, mean of the quieter half of 3 calls")
    lines = table_text.markdown_lines(by_name)[2:]
    assert lines == [
        r"| CONV\_2D | builtin | 2 | 31.0 | 77.5 |",
        "| ADD | builtin | 1 | 0.5 | 1.2 |",
        "| unaccounted |  |  | 8.5 | 21.2 |",
        "| the call |  |  | 40.0 | 100.0 |",
    ]
    assert sum(float(row[4].value) for row in by_name.rows[:3]) == pytest.approx(100, abs=0.2)
    assert table_text.markdown_lines(single)[2:] == [r"| CONV\_2D | 2 | third | 20.0 | 50.0 |"]


def test_a_name_cannot_break_the_table(made_profile):
    _, single = tables(made_profile(), slowest=2)
    assert r"| CONV\_2D | 0 | first\|one | 11.0 | 27.5 |" in table_text.markdown_lines(single)


def test_it_is_said_whose_operators_the_rows_are(made_profile):
    single = (OperatorTime("Add (ND)", 0, None, "xnnpack", (1, 1, 1)),)
    (table,) = tables(made_profile(kernels="xnnpack", operators=single))
    assert "its rows are its own operators, not the file's" in table.note
    assert "not the file's" not in tables(made_profile())[0].note


def test_a_profile_that_says_nothing_gives_its_reason_instead_of_shares(made_profile):
    noisy = made_profile(stable=False)
    (table,) = tables(noisy, slowest=10)
    assert [cell.value for cell in table.rows[0]] == ["the call", "too noisy"]
    assert table.reasons == (noisy.reason,)
    assert "the warm-up did not settle" in noisy.reason


def test_a_file_without_a_profile_gives_the_reason():
    (table,) = tables(None, slowest=10, reason="LiteRT cannot profile it.")
    assert [cell.value for cell in table.rows[0]] == ["the call", "not measured"]
    assert table.reasons == ("LiteRT cannot profile it.",)
