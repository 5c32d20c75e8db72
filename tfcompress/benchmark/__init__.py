"""Measures the time of a call, the time to load, and the memory, each in a process of its own.

    samples = measure_latency({"small": "a.tflite", "large": "b.tflite"}, LatencyConfig(threads=2))
    print(summarize(samples["small"]).p50, ratio(samples["small"], samples["large"]).value)

Knows how to measure side by side: the models take turns, round by round, in fresh processes that
import no TensorFlow unless the runtime needs it; every raw sample is kept, with what the machine
did meanwhile. Does not know how a figure is shown.
"""

from tfcompress.benchmark.config import LatencyConfig
from tfcompress.benchmark.measuring import Case, measure_cases, measure_latency, turn_order
from tfcompress.benchmark.process import MeasurementError, run_in_process, serve
from tfcompress.benchmark.timing import time_calls, warm_up
from tfcompress.latency import LatencySamples, Ratio, ratio, summarize

__all__ = [
    "Case",
    "LatencyConfig",
    "LatencySamples",
    "MeasurementError",
    "Ratio",
    "measure_cases",
    "measure_latency",
    "ratio",
    "run_in_process",
    "serve",
    "summarize",
    "time_calls",
    "turn_order",
    "warm_up",
]
