"""What a run gives to the techniques' configs: images, examples, the latency of a model.

Knows where each comes from. Which technique asks for which is said by the fields of its config.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import benchmark, checkpoint, export
from tfcompress.config import RunConfig
from tfcompress.data import Dataset
from tfcompress.preprocessing import Preprocessing
from tfcompress.run_folder import CANDIDATES, RunFolder

_EXAMPLES = 512


@dataclass(frozen=True)
class _KeptLatency:
    p50: float


class Supplies:
    """What one run can give.

    Args:
      config: all settings of the run.
      folder: where measured latencies are kept.
      dataset: whose images are given.
      preprocessing: of the model that takes them.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, dataset: Dataset, preprocessing: Preprocessing
    ) -> None:
        self._config = config
        self._folder = folder
        self._dataset = dataset
        self._preprocessing = preprocessing

    def of(self, teacher: Any) -> dict[str, Any]:
        """All of it, by the names of the fields that ask for it.

        Args:
          teacher: the model that a distillation learns from.
        """
        return {
            "teacher": teacher,
            "calibration": self.calibration,
            "examples": self.examples,
            "latency": self.latency_ms,
        }

    @cached_property
    def calibration(self) -> np.ndarray:
        """Preprocessed images of the calibration split, no more than an export takes."""
        images = self._dataset.calibration.images[: self._config.export.calibration_size]
        return self._preprocessing.apply(images)

    @cached_property
    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """Preprocessed images of the training split, and their classes."""
        count = min(_EXAMPLES, len(self._dataset.train))
        found = self._dataset.train.take(np.arange(count))
        return self._preprocessing.apply(found.images), found.labels

    def latency_ms(self, model: Any) -> float:
        """Of a model's int8 file at batch 1 on one thread, the median.

        Measured once for each model, so that a resumed run decides as before.
        """

        def measured() -> _KeptLatency:
            artifact = export.convert(model, "int8", calibration=self.calibration)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "candidate.tflite"
                artifact.save(path)
                timing = dataclasses.replace(self._config.latency, batch=1, threads=1)
                samples = benchmark.measure_latency({"candidate": path}, timing)["candidate"]
            return _KeptLatency(benchmark.summarize(samples).p50)

        key = checkpoint.weights_sha256(model)
        path = self._folder.root / CANDIDATES / f"{key[:16]}.json"
        return self._folder.kept(path, key, _KeptLatency, measured).p50
