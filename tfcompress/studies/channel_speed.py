"""What a removed channel is worth in time: networks made narrower, exported, and timed.

Knows how the widths are chosen and what is measured together. Weights are random, which changes no
latency. Does not know how it is shown (`speed` and `report` do).
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import backbones, benchmark, export
from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import plain
from tfcompress.graph import cost
from tfcompress.graph.kernels import kernels
from tfcompress.registry import require
from tfcompress.run_folder import RunFolder
from tfcompress.speed import SpeedCurve, SpeedPoint
from tfcompress.techniques import prune_channels
from tfcompress.techniques.prune_channels import ChannelPruningConfig

CURVES = "curves"
"""The folder of what was measured of each network."""

_IMAGES = 32
_CLASSES = 10


@dataclass(frozen=True)
class ChannelSpeedConfig:
    """What is measured.

    Attributes:
      networks: with width and image size.
      removed: fractions of the multiply-accumulates that go, each in (0, 1); every group of
        channels gives the same fraction of its own.
      formats: export formats.
      round_to: channels that stay are a multiple of it.
      latency: how the files are timed; all of a network's take turns.

    Raises:
      ValueError: a value outside its range, or an unknown format.
    """

    networks: tuple[BackboneConfig, ...]
    removed: tuple[float, ...] = (0.25, 0.5, 0.75, 0.9)
    formats: tuple[str, ...] = ("float32", "int8")
    round_to: int = 4
    latency: LatencyConfig = field(default_factory=LatencyConfig)

    def __post_init__(self) -> None:
        for name in self.formats:
            require(name, export.FORMATS, what="export format")
        if not self.networks or not self.formats or not self.removed:
            raise ValueError(
                "ChannelSpeedConfig takes a network, a format and a fraction at least."
            )
        if not all(0 < value < 1 for value in self.removed):
            raise ValueError(
                f"ChannelSpeedConfig.removed must be in (0, 1). Received: {list(self.removed)}."
            )


def measure(
    config: ChannelSpeedConfig,
    output_dir: str | os.PathLike[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SpeedCurve, ...]:
    """Makes each network narrower step by step and times every file of it.

    Args:
      config: what is measured.
      output_dir: where the curve of each network is kept, and found again by the same measurement;
        new, empty, or of the same one.
      progress: told how many networks are done, and of how many.

    Raises:
      ValueError: a network from which so many channels cannot be removed.
      MeasurementError: a measuring process failed.
      RunFolderError: the folder belongs to something else.
    """
    folder, found = RunFolder(output_dir), []
    with folder.open_for({"channel_speed": plain(dataclasses.asdict(config))}):
        for number, network in enumerate(config.networks, start=1):
            path = folder.root / CURVES / f"{number:02}.json"
            make = partial(_curve, network, config)
            found.append(folder.kept(path, str(network), SpeedCurve, make))
            if progress:
                progress(number, len(config.networks))
    return tuple(found)


def _curve(network: BackboneConfig, config: ChannelSpeedConfig) -> SpeedCurve:
    shape = backbones.model_image_shape(network, (32, 32, 3))
    model = backbones.build_classifier(network, classes=_CLASSES, image_shape=shape)
    models = [model, *(_narrower(model, part, config) for part in sorted(config.removed))]
    images = np.random.default_rng(0).uniform(-1, 1, (_IMAGES, *shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        paths: dict[str, Path] = {}
        sizes: dict[str, int] = {}
        for index, one in enumerate(models):
            for name in config.formats:
                key = f"{index}-{name}"
                artifact = export.convert(one, name, calibration=images)
                artifact.save(Path(folder) / f"{key}.tflite")
                paths[key], sizes[key] = Path(folder) / f"{key}.tflite", artifact.size_bytes
        samples = benchmark.measure_latency(paths, config.latency)
    whole = _channels(model)
    points = tuple(
        SpeedPoint(
            kept=_channels(one) / whole,
            macs=cost.macs(one),
            parameters=cost.parameters(one),
            latency_ms={
                name: benchmark.summarize(samples[f"{index}-{name}"]) for name in config.formats
            },
            size_bytes={name: sizes[f"{index}-{name}"] for name in config.formats},
        )
        for index, one in enumerate(models)
    )
    width = "" if network.width == 1 else f" {network.width:g}"
    return SpeedCurve(f"{network.name}{width}, {shape[0]} px", points)


def _narrower(model: Any, removed: float, config: ChannelSpeedConfig) -> Any:
    settings = ChannelPruningConfig(
        removed, ranking="layer", round_to=config.round_to, least_kept=0.01
    )
    return prune_channels.wrap(model, settings, steps_per_epoch=1, epochs=1)


def _channels(model: Any) -> int:
    """What all convolutions and matrix products but the last give."""
    *inner, _ = (k for k in kernels(model) if not k.depthwise)
    return sum(int(kernel.variable.shape[-1]) for kernel in inner)


def parsed(texts: Sequence[str]) -> tuple[BackboneConfig, ...]:
    """Networks from texts such as `"MobileNet:0.25:96"`: a name, its width, the size of its images.

    Raises:
      ValueError: a text that is no such thing, or a network that there is not.

    Example:
      >>> parsed(["resnet8", "MobileNet:0.25:96"])[1].width
      0.25
    """
    return tuple(backbones.from_text(text, weights="none") for text in texts)
