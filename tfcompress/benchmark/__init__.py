"""Measures the time of a call, the time to load, and the memory, each in a process of its own.

    samples = measure_latency({"small": "a.tflite", "large": "b.tflite"}, LatencyConfig(threads=2))
    print(summarize(samples["small"]).p50)

Knows how to measure side by side: the models take turns, round by round, in fresh processes that
import no TensorFlow unless the runtime needs it; every raw sample is kept. Does not know how a
figure is shown.
"""

from tfcompress.benchmark.config import LatencyConfig
from tfcompress.benchmark.measuring import measure_latency
from tfcompress.benchmark.process import MeasurementError, run_in_process, serve
from tfcompress.benchmark.timing import time_calls
from tfcompress.latency import LatencySamples, summarize

__all__ = [
    "LatencyConfig",
    "LatencySamples",
    "MeasurementError",
    "measure_latency",
    "run_in_process",
    "serve",
    "summarize",
    "time_calls",
]
