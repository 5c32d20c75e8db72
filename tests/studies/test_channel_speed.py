"""Latency against channels kept: what is measured, the table and the figure."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tfcompress import speed
from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.report import speed_chart
from tfcompress.results import Latency
from tfcompress.speed import SpeedCurve, SpeedPoint
from tfcompress.studies import channel_speed
from tfcompress.studies.channel_speed import ChannelSpeedConfig

QUICK = LatencyConfig(rounds=1, min_runs=5, min_seconds=0.01)


def point(kept, macs, float32, int8):
    latency = {
        name: Latency(p50, p50, "litert_cpu", 1, 1, 5, (0.9 * p50, 1.2 * p50))
        for name, p50 in (("float32", float32), ("int8", int8))
    }
    return SpeedPoint(kept, macs, 100, latency, {"float32": 400, "int8": 100})


@pytest.fixture
def curve():
    return SpeedCurve("net, 32 px", (point(1.0, 1000, 0.8, 0.4), point(0.5, 250, 0.4, 0.2)))


def test_a_network_becomes_narrower_step_by_step(tmp_path):
    config = ChannelSpeedConfig(
        (BackboneConfig(name="ds_cnn", weights="none"),), removed=(0.8, 0.4), latency=QUICK
    )
    told = []
    (found,) = channel_speed.measure(
        config, tmp_path, progress=lambda done, of: told.append((done, of))
    )
    # Measured once: the same measurement finds it again, to the last digit.
    assert channel_speed.measure(config, tmp_path) == (found,)
    assert found.network == "ds_cnn, 28 px"
    assert told == [(1, 1)]
    whole, some, few = found.points
    assert whole.kept == 1.0
    assert 1 > some.kept > few.kept > 0
    # Of 32 channels 24 and 16 or fewer: in steps of four.
    assert [round(32 * 4 * p.kept) % 4 for p in found.points] == [0, 0, 0]
    assert some.macs <= 0.6 * whole.macs
    assert few.macs <= 0.2 * whole.macs
    for each in found.points:
        assert set(each.latency_ms) == {"float32", "int8"}
        assert set(each.size_bytes) == {"float32", "int8"}
        assert each.latency_ms["int8"].p50 > 0


def test_the_table_by_hand(curve):
    head, line, whole, half = speed.table_lines([curve])
    assert head.count("|") == line.count("|") == whole.count("|")
    latency = ("0.800 (0.720 to 0.960) | 1.00 |", "0.400 (0.360 to 0.480) | 1.00 |")
    assert whole == f"| net, 32 px | 100 | 1,000 | 100 | {latency[0]}  | {latency[1]}  |"
    # Three quarters of the arithmetic go, and half of the time: two thirds of it arrive.
    assert half.endswith("| 0.200 (0.180 to 0.240) | 2.00 | 0.67 |")


def test_the_figure_names_networks_and_settings(curve):
    svg = speed_chart.svg([curve, curve, curve], setting="litert_cpu, 1 thread, batch 1")
    texts = list(ElementTree.fromstring(svg).itertext())
    assert texts.count("net, 32 px") == 3
    assert any("litert_cpu, 1 thread, batch 1" in text for text in texts)
    assert {"latency, float32", "latency, int8", "multiply-accumulates"} <= set(texts)


def test_networks_from_texts():
    found = channel_speed.parsed(["resnet8", "MobileNet:0.25:96", "ds_cnn:2"])
    assert [(n.name, n.width, n.image_size) for n in found] == [
        ("resnet8", 1.0, 0),
        ("MobileNet", 0.25, 96),
        ("ds_cnn", 2.0, 0),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resnet8:wide", "NAME:WIDTH:SIZE. Received: 'resnet8:wide'"),
        ("resnet8:1:32:4", "NAME:WIDTH:SIZE"),
        ("resnet9", "Unknown backbone: 'resnet9'"),
    ],
)
def test_texts_that_name_no_network(text, says):
    with pytest.raises(ValueError, match=says):
        channel_speed.parsed([text])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"removed": (50,)}, r"removed must be in \(0, 1\)"),
        ({"removed": ()}, "a fraction at least"),
        ({"formats": ("int4",)}, "Unknown export format: 'int4'"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(ValueError, match=says):
        ChannelSpeedConfig((BackboneConfig(name="ds_cnn"),), **settings)
