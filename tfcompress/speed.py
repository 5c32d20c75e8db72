"""How fast networks are with fewer channels, as data and as a table. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfcompress.results import Latency

_GAIN = "latency saved per multiply-accumulates removed"


@dataclass(frozen=True)
class SpeedPoint:
    """A network with some of its channels.

    Attributes:
      kept: fraction of the channels that layers with a choice keep, in (0, 1].
      macs: multiply-accumulates of one image.
      parameters: elements of all weights.
      latency_ms: by export format, such as `{"float32": ..., "int8": ...}`.
      size_bytes: likewise, of the stored file.
    """

    kept: float
    macs: int
    parameters: int
    latency_ms: dict[str, Latency]
    size_bytes: dict[str, int]


@dataclass(frozen=True)
class SpeedCurve:
    """One network at several widths, measured in one run.

    Attributes:
      network: its name, with width and image size.
      points: from all channels to the fewest.
    """

    network: str
    points: tuple[SpeedPoint, ...]

    def relative(self, format: str) -> list[float]:
        """The median latency of each point as a fraction of the whole network's."""
        medians = [point.latency_ms[format].p50 for point in self.points]
        return [median / medians[0] for median in medians]

    def gain(self, format: str) -> list[float]:
        """Fraction of the latency saved for each fraction of the multiply-accumulates removed.

        1 where the latency falls as they do. Of each point but the first, of which none is removed.
        """
        saved = zip(self.relative(format)[1:], self.macs[1:], strict=True)
        return [(1 - latency) / (1 - macs) for latency, macs in saved]

    @property
    def macs(self) -> list[float]:
        """The multiply-accumulates of each point as a fraction of the whole network's."""
        return [point.macs / self.points[0].macs for point in self.points]


def table_lines(curves: Sequence[SpeedCurve]) -> list[str]:
    """A Markdown table of all points.

    A latency is the median of all calls, with the lowest and highest median of a round.
    *Latency saved per multiply-accumulates removed* is `SpeedCurve.gain`.
    """
    formats = list(curves[0].points[0].latency_ms)
    head = ["network", "channels kept, %", "multiply-accumulates", "of the whole, %"]
    for name in formats:
        head += [f"{name}, ms, p50 (of the rounds)", "times faster", _GAIN]
    lines = [f"| {' | '.join(head)} |", f"|:--|{'--:|' * (len(head) - 1)}"]
    for curve in curves:
        for index, point in enumerate(curve.points):
            cells = [
                curve.network,
                f"{100 * point.kept:.0f}",
                f"{point.macs:,}",
                f"{100 * curve.macs[index]:.0f}",
            ]
            for name in formats:
                factor = 1 / curve.relative(name)[index]
                gain = f"{curve.gain(name)[index - 1]:.2f}" if index else ""
                cells += [_with_range(point.latency_ms[name]), f"{factor:.2f}", gain]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _with_range(latency: Latency) -> str:
    """The median, the lowest and highest of the rounds' own, and whether they say anything."""
    shown = f"{latency.p50:.3f}"
    if len(latency.round_p50) > 1:
        shown += f" ({min(latency.round_p50):.3f} to {max(latency.round_p50):.3f})"
    return f"{shown}, too noisy" if latency.steady is False else shown
