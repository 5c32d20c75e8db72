import dataclasses
import subprocess
import sys

import pytest

from tfcompress import machine_state
from tfcompress.machine_state import MachineState, Stretch


def write(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Cores 0, 1 and 2, of which this process may use the last two."""
    monkeypatch.setattr(machine_state, "_usable_cores", lambda: (1, 2))
    monkeypatch.setattr(machine_state.os, "sysconf", lambda name: 100)
    proc, system = tmp_path / "proc", tmp_path / "sys"
    write(
        proc,
        stat="cpu  9 9 9 9 9 9 9 9 0 0\n"
        "cpu0 90000 0 0 0 0 0 0 700 0 0\n"
        "cpu1 1000 200 300 5000 60 7 8 50 0 0\n"
        "cpu2 100 0 0 9000 0 0 0 25 0 0\n"
        "intr 1 2 3\n",
        loadavg="2.50 1.00 0.50 3/113 8426\n",
        cpuinfo="processor : 0\ncpu MHz : 1000.0\n\ncpu MHz : 2000.5\n\ncpu MHz : 3000.0\n",
    )
    for core, governor, clock in ((0, "performance", 1), (1, "powersave", 2), (2, "powersave", 3)):
        folder = system / f"devices/system/cpu/cpu{core}"
        write(
            folder,
            cpufreq__scaling_governor=f"{governor}\n",
            cpufreq__scaling_cur_freq=f"{clock}000000\n",
            thermal_throttle__core_throttle_count=f"{10 + core}\n",
        )
    return proc, system


def read(machine):
    return machine_state.read(proc=machine[0], system=machine[1])


def test_the_usable_cores_alone_are_described(machine):
    found = read(machine)
    assert found.usable_cores == 2
    assert found.governors == ("powersave",)
    assert found.clock_mhz == (2000, 3000)
    assert found.load_average == 2.5
    # Waiting for a disk and idling are no work: 1000 + 200 + 300 + 7 + 8, and 100.
    assert found.busy_seconds == pytest.approx(16.15)
    assert found.stolen_seconds == pytest.approx(0.75)
    assert found.heat_throttles == 11 + 12
    assert found.gpus is None


def test_clocks_come_from_the_processor_list_where_no_core_tells(machine):
    for path in machine[1].rglob("scaling_cur_freq"):
        path.unlink()
    assert read(machine).clock_mhz == (2000.5, 3000)


@pytest.mark.parametrize(
    ("files", "boost"),
    [({"intel_pstate__no_turbo": "0"}, True), ({"cpufreq__boost": "0"}, False), ({}, None)],
)
def test_boost(machine, files, boost):
    write(machine[1] / "devices/system/cpu", **files)
    assert read(machine).boost is boost


def test_the_tightest_limit_of_the_control_groups_holds(machine):
    proc, system = machine
    write(proc, self__cgroup="0::/outer/inner\n")
    group = system / "fs/cgroup/outer"
    (group / "inner").mkdir(parents=True)
    (group / "cpu.max").write_text("150000 100000\n")
    (group / "inner/cpu.max").write_text("max 100000\n")
    (group / "cpu.stat").write_text("usage_usec 5\nnr_throttled 4\n")
    found = read(machine)
    assert found.cpu_limit == 1.5
    assert found.limit_throttles == 4


def test_control_groups_of_the_first_version(machine):
    proc, system = machine
    write(proc, self__cgroup="3:cpuset:/\n2:cpu,cpuacct:/box\n1:name=systemd:/\n")
    group = system / "fs/cgroup/cpu/box"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert read(machine).cpu_limit is None
    (group / "cpu.cfs_quota_us").write_text("50000\n")
    assert read(machine).cpu_limit == 0.5


def test_what_is_not_there_is_none(tmp_path):
    found = machine_state.read(proc=tmp_path, system=tmp_path)
    for name in ("governors", "boost", "clock_mhz", "load_average", "busy_seconds", "cpu_limit"):
        assert getattr(found, name) is None, name
    stretch = Stretch(found, found)
    assert (stretch.cores_of_others, stretch.stolen_share, stretch.throttled) == (None, None, None)


def test_what_others_took_within_a_stretch():
    begin = MachineState(2, busy_seconds=100, stolen_seconds=5, own_seconds=1, wall_seconds=50)
    end = dataclasses.replace(
        begin, busy_seconds=106, stolen_seconds=5.8, own_seconds=4, wall_seconds=54
    )
    stretch = Stretch(begin, end)
    assert stretch.cores_of_others == pytest.approx((6 - 3) / 4)
    assert stretch.stolen_share == pytest.approx(0.8 / (4 * 2))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"heat_throttles": 8}, "heat"),
        ({"limit_throttles": 3}, "the control group's processor limit"),
    ],
)
def test_throttling_within_a_stretch(change, said):
    begin = MachineState(heat_throttles=7, limit_throttles=2)
    assert Stretch(begin, dataclasses.replace(begin, **change)).throttled == said


def test_gpus_as_the_driver_prints_them():
    text = (
        "NVIDIA H200, 345, 1980, 2619, 31, 0, 76.42, P0\nOther, [N/A], [N/A], 5, 6, 7, 8, [N/A]\n"
    )
    first, second = machine_state.parse_gpus(text + "No devices\n")
    assert (first.clock_mhz, first.most_clock_mhz, first.watts) == (345, 1980, 76.42)
    assert (first.utilization, first.performance_state) == (0, "P0")
    assert (second.clock_mhz, second.performance_state) == (None, None)
    assert second.utilization == pytest.approx(0.07)


def test_gpus_are_asked_for_from_the_drivers_tool(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Some GPU, 1, 2, 3, 4, 50, 6, P8'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (gpu,) = machine_state.read(gpus=True).gpus
    assert (gpu.name, gpu.utilization) == ("Some GPU", 0.5)
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert machine_state.read_gpus() is None


def test_this_machine_is_read_without_numpy():
    code = (
        "import sys; from tfcompress import machine_state as m\n"
        "begin = m.read(); end = m.read()\n"
        "assert end.usable_cores >= 1 and end.wall_seconds >= begin.wall_seconds\n"
        "assert not {'numpy', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
