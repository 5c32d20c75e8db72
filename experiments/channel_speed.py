"""Measures how much faster networks become with fewer channels, and draws it in one figure.

    python -m experiments.channel_speed --output_dir=runs/channel_speed

removes the same fraction of every group of channels, exports, and times all files of a network in
turns; weights are random, since they change no latency. Other networks than the usual four:

    python -m experiments.channel_speed --network=MobileNetV2:0.35:96 --network=resnet8 ...

The same command goes on with an interrupted one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from absl import app, flags

from experiments import list_flags, program

USUAL = ("resnet8", "MobileNet:0.25:96", "MobileNetV2:0.35:96", "efficientnet_lite0:1:96")


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_multi_string("network", list(USUAL), "NAME, NAME:WIDTH or NAME:WIDTH:SIZE.")
    list_flags.define(
        "removed",
        ["0.25", "0.5", "0.75", "0.9"],
        "Fractions of the multiply-accumulates to remove.",
    )
    list_flags.define("export", ["float32", "int8"], "Formats.")
    flags.DEFINE_integer("round_to", 4, "Channels that stay are a multiple of it.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Processor threads.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "Processes for each file, in turn.", lower_bound=1)
    flags.DEFINE_string("output_dir", None, "Where samples and figure are written.", required=True)


@program.entry(resumable=True)
def main() -> None:
    """Measures, prints, draws."""
    values = flags.FLAGS
    written = run(values)
    print("\nWritten: " + "\n         ".join(map(str, written)))


def run(values: Any) -> list[Path]:
    """Measures, prints the table, writes samples and figure."""
    from rich.console import Console

    from tfcompress import durable, environment, speed
    from tfcompress.benchmark import LatencyConfig
    from tfcompress.progress import Reporter
    from tfcompress.report import drawing, speed_chart
    from tfcompress.studies import channel_speed

    latency = LatencyConfig(threads=values.threads, rounds=values.rounds)
    config = channel_speed.ChannelSpeedConfig(
        networks=channel_speed.parsed(values.network),
        removed=tuple(float(part) for part in values.removed),
        formats=tuple(values.export),
        round_to=values.round_to,
        latency=latency,
    )
    folder = Path(values.output_dir)
    with Reporter(Console()).bar("networks") as step:
        curves = channel_speed.measure(config, folder, progress=step)
    print("\n".join(speed.table_lines(curves)))
    record = {
        "curves": [dataclasses.asdict(curve) for curve in curves],
        "environment": environment.collect(),
    }
    durable.write_json(folder / "channel_speed.json", record)
    setting = f"{latency.runtime}, {latency.threads} thread, batch {latency.batch}"
    figure = speed_chart.svg(curves, setting=setting)
    durable.write_text(folder / "channel_speed.svg", drawing.for_file(figure))
    return [folder / "channel_speed.json", folder / "channel_speed.svg"]


if __name__ == "__main__":
    define_flags()
    app.run(main)
