from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfcompress import resource_use
from tfcompress.resource_use import Counter, Meter

MEBIBYTE = 2**20


def test_peak_memory_of_this_process_is_plausible():
    assert 10 * MEBIBYTE < resource_use.peak_memory_bytes() < 64 * 2**30


def test_the_peak_is_that_of_the_stretch():
    if not resource_use.reset_peak_memory():
        pytest.skip("the peak of a process cannot be reset on this system")
    meter = Meter(counters=())
    meter.start()
    held = np.ones(64 * MEBIBYTE, np.uint8)
    large = meter.stop()["peak_memory_bytes"]
    assert held[-1] == 1
    del held
    meter.start()
    small = meter.stop()["peak_memory_bytes"]
    assert large - small > 48 * MEBIBYTE


def write_counter(folder, name, joules, largest=1000.0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{round(largest * 1e6)}\n")


def test_energy_is_that_of_every_package_over_the_stretch(tmp_path):
    for index, joules in enumerate((10.0, 20.0)):
        write_counter(tmp_path / f"intel-rapl:{index}", f"package-{index}", joules)
    # A part of the first package, which must not be counted twice, and the driver itself.
    write_counter(tmp_path / "intel-rapl:0:0", "core", 5.0)
    (tmp_path / "intel-rapl").mkdir()
    # The whole platform, which holds the packages.
    write_counter(tmp_path / "intel-rapl:2", "psys", 70.0)
    # The same package again, through another way to its registers, and a peripheral's counter.
    write_counter(tmp_path / "intel-rapl-mmio:0", "package-0", 10.0)
    write_counter(tmp_path / "dtpm:0", "package-0", 10.0)
    found = resource_use._processors(tmp_path)
    assert [counter.name for counter in found] == ["package-0", "package-1"]
    meter = Meter(counters=tuple(found))
    meter.start()
    write_counter(tmp_path / "intel-rapl:0", "package-0", 13.5)
    write_counter(tmp_path / "intel-rapl:1", "package-1", 20.25)
    assert meter.stop()["energy_joules"] == pytest.approx(3.75)


def test_a_package_of_several_dies_is_each_of_them(tmp_path):
    for index in range(2):
        write_counter(tmp_path / f"intel-rapl:{index}", f"package-0-die-{index}", 1.0)
    names = [counter.name for counter in resource_use._processors(tmp_path)]
    assert names == ["package-0-die-0", "package-0-die-1"]


def test_a_counter_that_only_others_may_read_is_left_out(tmp_path, monkeypatch):
    write_counter(tmp_path / "intel-rapl:0", "package-0", 10.0)
    whole = Path.read_text

    def refused(path, *arguments, **options):
        if path.name == "energy_uj":
            raise PermissionError(path)
        return whole(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refused)
    assert resource_use._processors(tmp_path) == []


def test_a_counter_that_goes_away_ends_nothing(tmp_path):
    write_counter(tmp_path / "intel-rapl:0", "package-0", 10.0)
    meter = Meter(counters=tuple(resource_use._processors(tmp_path)))
    meter.start()
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert "energy_joules" not in meter.stop()
    meter.start()
    assert "energy_joules" not in meter.stop()


def test_a_counter_that_wrapped_goes_on_from_zero():
    assert Counter("package-0", lambda: 3.0, wraps_at=100.0).since(98.0) == 5.0
    assert Counter("package-0", lambda: 99.0, wraps_at=100.0).since(98.0) == 1.0


@pytest.mark.parametrize(
    ("gpus", "name", "kept"),
    [
        (["A"], "A", ["package-0", "gpu-0"]),
        (["A"], None, ["package-0", "gpu-0"]),
        (["A", "B"], "B", ["package-0", "gpu-1"]),
        (["A", "B"], None, ["package-0"]),
        (["A", "A"], "A", ["package-0"]),
        (["A"], "C", ["package-0"]),
        ([], "A", ["package-0"]),
    ],
)
def test_of_gpus_only_the_one_in_use_counts(gpus, name, kept):
    counters = [Counter("package-0", lambda: 1.0)]
    counters += [Counter(f"gpu-{n}", lambda: 1.0, gpu=gpu) for n, gpu in enumerate(gpus)]
    found = resource_use.without_other_gpus(counters, name)
    assert [counter.name for counter in found] == kept


def test_no_counter_is_no_figure(tmp_path):
    (tmp_path / "intel-rapl:0").mkdir()
    assert resource_use._processors(tmp_path) == []
    assert "energy_joules" not in Meter(counters=()).stop()


def test_memory_is_told_by_kind(tmp_path):
    (tmp_path / "status").write_text("VmRSS:\t  900 kB\nRssAnon:\t   300 kB\nRssFile: 600 kB\n")
    (tmp_path / "smaps").write_text(
        "7f00-7f10 r--p 00000000 fe:00 12 /models/a b.tflite\nSize: 64 kB\nRss: 40 kB\nPss: 9 kB\n"
        "7f10-7f20 r--p 00000000 fe:00 13 /models/a b.tflite2\nRss: 7 kB\n"
        "7f20-7f30 rw-p 00000000 00:00 0 \nRss: 11 kB\n"
        "7f30-7f40 r--p 00010000 fe:00 12 /models/a b.tflite\nRss: 4 kB\n"
    )
    assert resource_use.anonymous_bytes(tmp_path) == 300 * 1024
    assert resource_use.mapped_bytes("/models/a b.tflite", tmp_path) == 44 * 1024


def test_a_system_that_does_not_tell_gives_no_figure(tmp_path):
    with pytest.raises(OSError, match="known on Linux only"):
        resource_use.anonymous_bytes(tmp_path)
    (tmp_path / "status").write_text("VmRSS: 900 kB\n")
    with pytest.raises(OSError, match="has no RssAnon"):
        resource_use.anonymous_bytes(tmp_path)
