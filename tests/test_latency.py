from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tfcompress import records, results
from tfcompress.latency import LatencySamples, ratio, summarize
from tfcompress.machine_state import GpuState, MachineState, Stretch

MILLISECOND = 1_000_000


def samples(*rounds_ms, **changes):
    """Rounds of milliseconds; a bare number stands for 60 calls that all took as long."""
    rounds = [[part] * 60 if isinstance(part, int | float) else part for part in rounds_ms]
    fields = {
        "runtime": "litert_cpu",
        "threads": 1,
        "batch": 1,
        "rounds_ns": tuple(tuple(round(x * MILLISECOND) for x in part) for part in rounds),
        "first_call_ns": tuple(9 * MILLISECOND - n for n in range(len(rounds))),
        "load_ns": (5 * MILLISECOND,) * len(rounds),
        "stable": (True,) * len(rounds),
    }
    return LatencySamples(**{**fields, **changes})


def test_summary_by_hand():
    found = summarize(
        samples(
            [1, 2, 3],
            [4, 11],
            threads=2,
            batch=4,
            prepare_ns=(7 * MILLISECOND, 1),
            finite_outputs=False,
        )
    )
    assert found.p50 == pytest.approx((2 + 7.5) / 2)
    assert found.p90 == pytest.approx(4 + 0.6 * 7)  # rank 3.6 of 0..4
    assert found.interquartile == pytest.approx(4 - 2)
    assert found.round_p50 == pytest.approx((2, 7.5))
    assert found.spread == pytest.approx(5.5 / 4.75)
    assert (found.samples, found.first_call, found.load, found.prepare) == (5, 9, 5, 7)
    assert (found.runtime, found.threads, found.batch) == ("litert_cpu", 2, 4)
    assert found.mean == pytest.approx(21 / 5)
    assert found.images_per_second == pytest.approx(4 * 5 / 21e-3)
    assert found.finite_outputs is False
    # Five samples have no 99th percentile.
    assert found.p99 is None


def test_a_summary_is_read_as_it_was_written():
    found = summarize(samples(2.0, 2.1, joules_per_call=({"package-0": 0.5}, None)))
    record = json.loads(json.dumps(dataclasses.asdict(found)))
    assert records.from_record(results.Latency, record) == found
    # As earlier versions wrote it.
    old = {"p50": 1.0, "p90": 2.0, "runtime": "keras", "threads": 1, "batch": 1, "samples": 9}
    read = records.from_record(results.Latency, old)
    assert (read.steady, read.mean, read.images_per_second) == (None, None, 1000)


def test_throughput_is_that_of_all_calls():
    """Two calls in five take five times as long, which no median tells."""
    found = summarize(samples(*[[1, 1, 1, 5, 5] * 20] * 6))
    assert (found.steady, found.p50) == (True, 1)
    assert found.images_per_second == pytest.approx(1000 / 2.6)


def test_the_median_lies_in_its_interval_whatever_the_counts_of_samples():
    found = summarize(samples([1.0] * 10000, *[[1.06] * 500] * 5))
    assert (found.interval.low, found.p50, found.interval.high) == (1.0, 1.06, 1.06)


def test_percentiles_of_many_samples():
    found = summarize(samples(list(range(0, 101)), list(range(100, 201))))
    assert found.p99 == pytest.approx(200 - 0.01 * 201)
    assert found.p50 == 100


def test_rounds_that_agree_are_steady():
    found = summarize(samples(2.00, 2.02, 1.99, 2.01, 2.00))
    assert (found.steady, found.reason) == (True, None)
    assert (found.interval.low, found.interval.high) == pytest.approx((1.99, 2.02))
    # From the least to the greatest of five: 1 - 2 / 2**5.
    assert found.interval.confidence == 0.9375


def test_rounds_that_disagree_are_too_noisy():
    found = summarize(samples(2.0, 2.0, 2.3, 2.0, 2.0))
    assert found.steady is False
    assert found.reason == "the medians of the 5 rounds disagree, from 2 to 2.3 ms"


def test_of_nine_rounds_a_single_one_may_deviate():
    assert summarize(samples(*[2.0] * 7, 2.6)).steady is False
    assert summarize(samples(*[2.0] * 8, 2.6)).steady
    assert summarize(samples(*[2.0] * 5, *[2.6] * 4)).steady is False


def test_one_round_has_no_verdict():
    found = summarize(samples(2.0))
    assert (found.steady, found.interval) == (None, None)
    assert "one round" in found.reason


def test_a_call_now_and_then_that_takes_longer_is_no_noise():
    rounds = [[1.0] * 95 + [3.0] * 5 for _ in range(5)]
    assert summarize(samples(*rounds)).steady


@pytest.mark.parametrize(
    ("stable", "steady"),
    [
        ((True, True, True, True, False), True),
        ((True, True, False, False, False), False),
        ((None,) * 5, True),
        ((), True),
    ],
)
def test_a_warm_up_that_did_not_settle_counts_in_half_the_rounds(stable, steady):
    found = summarize(samples(*[2.0] * 5, stable=stable))
    assert found.steady is steady
    if not steady:
        assert found.reason == "the warm-up did not settle in 3 of 5 rounds"


def test_a_round_that_goes_on_getting_faster_is_no_figure():
    falling = list(np.linspace(3, 1, 60))  # quarters with medians of 2.76 and 1.24
    found = summarize(samples(*[falling] * 4))
    assert found.steady is False
    assert "the first and the last quarter of 4 of 4 rounds differ by 55%" in found.reason


def test_a_rise_of_a_fifth_in_every_round_is_a_drift():
    """Its halves differ by 9%."""
    assert summarize(samples(*[list(np.linspace(1, 1.19, 500))] * 6)).steady is False
    assert summarize(samples(*[list(np.linspace(1, 1.10, 500))] * 6)).steady


def gpu(clock=1980.0, use=0.0, *, name="NVIDIA H200"):
    return GpuState(name, clock_mhz=clock, most_clock_mhz=1980.0, utilization=use)


IDLE = gpu(210.0)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([IDLE], [gpu(1900.0, 1.0)], None),
        ([gpu(use=1.0)], [gpu()], "in 4 of 4 rounds others used the GPU 100% of the time"),
        ([IDLE], [IDLE], "in 4 of 4 rounds the clock of the GPU was 210 of 1980 MHz after the"),
        # Two that may be the one in use: one of them is well.
        ([gpu(use=1.0), IDLE], [IDLE, gpu()], None),
        ([gpu(use=1.0), gpu(use=0.5)], [gpu()], "others used the GPU 50% of the time"),
        # Another one is busy.
        ([gpu(use=1.0, name="Other"), IDLE], [gpu(), gpu(210.0, name="Other")], None),
        ([], [], None),
    ],
)
def test_a_gpu_that_others_use_or_that_rests_gives_no_figure(before, after, said):
    machine = (Stretch(MachineState(gpus=tuple(before)), MachineState(gpus=tuple(after))),) * 4
    placement = {"device": "gpu", "device_name": "NVIDIA H200"}
    found = summarize(samples(*[2.0] * 4, machine=machine, placement=placement))
    assert found.steady is (said is None)
    assert said is None or said in found.reason
    # What a GPU does is nothing to the processor.
    assert summarize(samples(*[2.0] * 4, machine=machine)).steady


def test_clocks_of_a_gpu_that_differ_from_round_to_round_give_no_figure():
    machine = [Stretch(MachineState(), MachineState(gpus=(gpu(clock),))) for clock in (1980, 1500)]
    found = samples(2.0, 2.0, machine=tuple(machine), placement={"device": "gpu"})
    assert summarize(found).reason == (
        "the clock of the GPU was 1500 MHz after one round and 1980 after another"
    )


def stretch(*, others=0.0, stolen=0.0, **end):
    """One second on four cores in which this process took one."""
    begin = MachineState(
        4, busy_seconds=10, stolen_seconds=1, own_seconds=2, wall_seconds=5, limit_throttles=0
    )
    after = {"busy_seconds": 11 + others, "own_seconds": 3, "wall_seconds": 6}
    after |= {"stolen_seconds": 1 + 4 * stolen} | end
    return Stretch(begin, dataclasses.replace(begin, **after))


@pytest.mark.parametrize(
    ("machine", "threads", "said"),
    [
        ({"others": 2.9}, 1, None),
        ({"others": 3.2}, 1, "other processes kept 3.2 of 4 cores busy"),
        ({"others": 1.0}, 4, "other processes kept 1.0 of 4 cores busy"),
        # More threads than cores are no one else's fault.
        ({"others": 0.1}, 16, None),
        # Nor is a limit below them.
        ({"others": 3.4, "cpu_limit": 0.5}, 1, None),
        ({"stolen": 0.04}, 1, None),
        ({"stolen": 0.25}, 1, "a hypervisor took 25% of the processor time"),
        ({"limit_throttles": 3}, 1, "the control group's processor limit slowed"),
    ],
)
def test_a_busy_machine_gives_no_figure_though_the_rounds_agree(machine, threads, said):
    calm, busy = stretch(), stretch(**machine)
    found = summarize(samples(*[2.0] * 4, threads=threads, machine=(busy, calm, busy, busy)))
    if said is None:
        assert (found.steady, found.reason) == (True, None)
    else:
        assert found.steady is False
        assert found.reason.startswith(f"in 3 of 4 rounds {said}")
        rarely = samples(*[2.0] * 4, threads=threads, machine=(busy, *[calm] * 3))
        if threads == 1:
            assert summarize(rarely).steady


@pytest.mark.parametrize(("device", "joules"), [("cpu", 3.0), ("gpu", 13.0)])
def test_energy_is_that_of_the_devices_that_worked(device, joules):
    counters = [{"package-0": 1.0 + n, "package-1": 1.0, "gpu-0": 10.0} for n in range(3)]
    found = samples(1, 1, 1, 1, joules_per_call=(*counters, None), placement={"device": device})
    assert summarize(found).joules == joules
    assert summarize(samples(1, 1)).joules is None


@pytest.mark.parametrize("gpus", [{}, {"gpu-0": 1.0, "gpu-1": 1.0}], ids=["none", "several"])
def test_energy_of_a_gpu_that_no_single_counter_counts_is_unknown(gpus):
    found = samples(1, 1, joules_per_call=({"package-0": 1.0, **gpus},) * 2)
    assert summarize(found).joules == 1.0
    on_gpu = dataclasses.replace(found, placement={"device": "gpu"})
    assert summarize(on_gpu).joules is None


def test_ratio_is_paired_by_round():
    """The machine halves its speed in the third round; the two still compare alike."""
    base = samples(4.0, 4.0, 8.0, 4.0, 4.0)
    small = samples(2.0, 2.02, 4.0, 1.98, 2.0)
    found = ratio(small, base)
    assert found.value == 0.5
    assert found.rounds == pytest.approx((0.5, 0.505, 0.5, 0.495, 0.5))
    assert (found.interval.low, found.interval.high) == pytest.approx((0.495, 0.505))
    assert (found.steady, found.reason) == (True, None)
    assert summarize(base).steady is False


def test_ratio_of_rounds_that_disagree_is_too_noisy():
    found = ratio(samples(2.0, 3.0, 2.0, 3.0), samples(4.0, 4.0, 4.0, 4.0))
    assert found.steady is False
    assert found.reason == "the ratios of the rounds disagree, from 0.500 to 0.750"


def test_ratio_names_whose_samples_are_at_fault():
    found = ratio(samples(2.0, 2.0), samples(4.0, 4.0, stable=(False, False)))
    assert found.steady is False
    assert found.reason == "baseline: the warm-up did not settle in 2 of 2 rounds"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (samples(1.0, 1.0, session="another"), "in turns"),
        (samples(1.0), "of 2 and 1 rounds"),
        (samples(1.0, 1.0, batch=8), "Received: 1 and 8"),
    ],
)
def test_ratio_refuses_what_was_not_measured_together(other, said):
    with pytest.raises(ValueError, match=said):
        ratio(samples(1.0, 1.0), other)


def noisy(generator, *, between, within=0.03, rounds=5, calls=60, value=1.0):
    """Rounds whose levels, and calls within them, spread by these fractions."""
    levels = value * np.exp(generator.normal(0, between, rounds))
    return samples(*[level * np.exp(generator.normal(0, within, calls)) for level in levels])


def test_how_often_a_quiet_machine_is_called_noisy_and_a_noisy_one_quiet():
    generator = np.random.default_rng(0)

    def share(between):
        return np.mean([summarize(noisy(generator, between=between)).steady for _ in range(120)])

    # The range of five normal levels exceeds a tenth of them 1 time in 250 at 2%, 6 in 7 at 7%.
    assert share(0.01) == 1
    assert share(0.02) > 0.97
    assert share(0.07) < 0.25
    assert share(0.15) < 0.05


def test_a_machine_with_two_speeds_is_found_out():
    """Each round is slow by 30% half of the time: that all five agree has a chance of 1 in 16."""
    generator = np.random.default_rng(1)
    found = [
        summarize(samples(*generator.choice([1.0, 1.3], 5).tolist())).steady for _ in range(200)
    ]
    assert np.mean(found) < 2 / 16


@pytest.mark.parametrize("rounds", range(2, 11))
def test_an_interval_holds_the_truth_as_often_as_it_says(rounds):
    """Levels of rounds are skewed; that of a ratio is, and the machine's speed changes by 20%."""
    generator = np.random.default_rng(rounds)
    count = 800
    inside = {"median": 0, "ratio": 0}
    for _ in range(count):
        own = np.exp(generator.exponential(0.02, rounds))
        speed = np.exp(generator.normal(0, 0.2, rounds))
        candidate = [[3 * x * y] for x, y in zip(own, speed, strict=True)]
        found = summarize(samples(*[[3 * x] for x in own])).interval
        inside["median"] += found.low <= 3 * 2**0.02 <= found.high
        interval = ratio(samples(*candidate), samples(*[[x] for x in speed])).interval
        inside["ratio"] += interval.low <= 3 * 2**0.02 <= interval.high
    claimed = interval.confidence
    assert claimed >= 0.95 or claimed == 1 - 2.0 ** (1 - rounds)
    # Three standard errors.
    error = 3 * (claimed * (1 - claimed) / count) ** 0.5
    for held in inside.values():
        assert held / count == pytest.approx(claimed, abs=error)
