"""What a run gives to the techniques: images, a teacher's outputs, what is measured of a model.

Knows where each comes from and keeps what took long. Which technique asks for which is said by the
fields of its config.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import benchmark, checkpoint, durable, export, latency, probe
from tfcompress.config import RunConfig
from tfcompress.data import Dataset, encoding, pipeline
from tfcompress.goals import Values
from tfcompress.layer_sensitivity import KINDS, Sensitivity
from tfcompress.planned_stages import PlannedStage
from tfcompress.progress import Reporter
from tfcompress.run_folder import CANDIDATES, ENCODED, RunFolder
from tfcompress.tokenization import Preparation, Tokenization
from tfcompress.tokenizer import Tokenizer
from tfcompress.training import TrainingConfig
from tfcompress.vocabulary import TokenUsage

_EXAMPLES = 512
_PROBED = 1000
_AT_ONCE = 128


@dataclass(frozen=True)
class _KeptNames:
    names: tuple[str, ...]


@dataclass(frozen=True)
class _KeptUnits:
    units: tuple[int, ...]


@dataclass(frozen=True)
class _KeptLatency:
    milliseconds: float


class Supplies:
    """What one run can give to models that take images, or texts, of one kind.

    Args:
      config: all settings of the run.
      folder: where what was measured is kept.
      dataset: whose examples are given.
      preprocessing: of the models that take them.
      reporter: told of the progress of what takes long.
      tokenizer: of texts, with which the examples were cut up.
      usage: of texts, how often the training split has each token of the baseline's tokenizer.

    Attributes:
      dataset: as given.
      preprocessing: as given.
      tokenizer: as given.
      usage: as given.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        dataset: Dataset,
        preprocessing: Preparation,
        reporter: Reporter,
        *,
        tokenizer: Tokenizer | None = None,
        usage: TokenUsage | None = None,
    ) -> None:
        self._reporter = reporter
        self._config = config
        self._folder = folder
        self.dataset = dataset
        self.preprocessing = preprocessing
        self.tokenizer = tokenizer
        self.usage = usage

    def of(self, teacher: Any) -> dict[str, Any]:
        """All of it, by the names of the fields that ask for it.

        Args:
          teacher: the model that a distillation learns from.
        """
        return {
            "teacher": teacher,
            "value_scale": self.value_scale,
            "calibration": self.calibration,
            "examples": self.examples,
            "latency": self.latency_ms,
            "sparsities": self.sparsities,
            "in_float": self.layers_in_float,
            "removed": self.removed_channels,
            "usage": self.usage,
        }

    @property
    def value_scale(self) -> tuple[float, ...] | None:
        """Of a regression, the standard deviation of each target; None for classes."""
        goal = self.dataset.goal
        return goal.std if isinstance(goal, Values) else None

    @cached_property
    def calibration(self) -> np.ndarray:
        """Preprocessed examples of the calibration split, as many as an export takes."""
        images = self.dataset.calibration.examples[: self._config.export.calibration_size]
        if isinstance(self.preprocessing, Tokenization):
            return self.preprocessing.for_calibration(images)
        return self.preprocessing.apply(images)

    @cached_property
    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """Preprocessed images of the training split, and their classes or values."""
        count = min(_EXAMPLES, len(self.dataset.train))
        found = self.dataset.train.take(np.arange(count))
        return self.preprocessing.apply(found.examples), found.labels

    def answers(self, teacher: Any, views: int, config: TrainingConfig) -> np.ndarray:
        """A teacher's outputs for every view of every training image, kept in the folder.

        Args:
          teacher: a model that takes these images.
          views: how many.
          config: seed and augmentation of the training.

        Returns:
          float32 [views, images, classes], or [views, images, targets].
        """
        answer, fingerprint = export.inference(teacher), checkpoint.weights_sha256(teacher)
        found = []
        with self._reporter.bar("teacher's outputs") as step:
            for number in range(views):
                outputs = encoding.encoded(
                    self.dataset.train,
                    answer,
                    self.preprocessing,
                    fingerprint=fingerprint,
                    cache_dir=self._folder.root / ENCODED,
                    batch_size=_AT_ONCE,
                    view=pipeline.View(number, config.seed, config.augmentation),
                )
                found.append(outputs)
                step(number + 1, views)
        return np.stack(found)

    def sparsities(self, model: Any, stage: PlannedStage) -> dict[str, float] | None:
        """How the zeros are shared out among the kernels that `prune` treats.

        From the sensitivity to each of them, on images of the validation split.
        """
        if stage.config.allocation == "uniform":
            return None
        target = stage.config.target_sparsity or 0.0
        layers = stage.module.treated(model, stage.config)
        return self.sensitivity(model, reaching=target).sparsities(target, layers=layers)

    def layers_in_float(self, model: Any, stage: PlannedStage) -> tuple[str, ...]:
        """The layers that `ptq` or `qat` keeps in float. Chosen once and kept in the folder."""
        if not stage.config.growth:
            return ()
        config = dataclasses.replace(stage.config, calibration=self.calibration)

        def chosen() -> _KeptNames:
            self._reporter.note("choosing the layers that stay in float")
            return _KeptNames(stage.module.layers_in_float(model, config))

        key = f"{checkpoint.weights_sha256(model)} {config}"
        path = self._folder.root / CANDIDATES / f"in-float-{_short(key)}.json"
        return self._folder.kept(path, key, _KeptNames, chosen).names

    def removed_channels(self, model: Any, stage: PlannedStage) -> tuple[int, ...]:
        """The units of channels that `prune_channels` removes. Chosen once and kept in the folder.

        Gradients are not the same to the last bit on every device, nor is a latency at all times.
        """
        config = dataclasses.replace(stage.config, examples=self.examples, latency=self.latency_ms)
        key = f"{checkpoint.weights_sha256(model)} {config}"
        path = self._folder.root / CANDIDATES / f"channels-{_short(key)}.json"

        def chosen() -> _KeptUnits:
            return _KeptUnits(stage.module.choose(model, config))

        return self._folder.kept(path, key, _KeptUnits, chosen).units

    def sensitivity(self, model: Any, *, reaching: float) -> Sensitivity:
        """To zeros in each kernel. Measured once for each model and kept in the folder.

        Args:
          model: whose layers are pruned one at a time.
          reaching: a sparsity that the levels must not stay below.
        """
        levels = KINDS["sparsity"]
        if reaching >= levels[-1]:
            levels = (*levels, reaching, (1 + reaching) / 2)
        split = self.dataset.validation
        split = split.take(np.arange(min(_PROBED, len(split))))

        def measured() -> Sensitivity:
            images = self.preprocessing.apply(split.examples)
            with self._reporter.bar("sensitivity") as step:
                return probe.sensitivity(
                    model, images, split.labels, levels={"sparsity": levels}, progress=step
                )

        key = f"{checkpoint.weights_sha256(model)} {levels}"
        path = self._folder.root / CANDIDATES / f"sensitivity-{_short(key)}.json"
        return self._folder.kept(path, key, Sensitivity, measured)

    def latency_ms(self, model: Any) -> float:
        """Of a model's int8 file at batch 1 on one thread, with other work left out of account.

        Measured once for each model, so that a resumed run decides as before.
        """

        def measured() -> _KeptLatency:
            artifact = export.convert(model, "int8", calibration=self.calibration)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "candidate.tflite"
                artifact.save(path)
                timing = dataclasses.replace(self._config.latency, batch=1, threads=1)
                samples = benchmark.measure_latency({"candidate": path}, timing)["candidate"]
            return _KeptLatency(latency.undisturbed_ms(samples))

        key = checkpoint.weights_sha256(model)
        path = self._folder.root / CANDIDATES / f"{key[:16]}.json"
        return self._folder.kept(path, key, _KeptLatency, measured).milliseconds


def _short(key: str) -> str:
    """A key in few letters of a file name."""
    return durable.sha256(key.encode())[:16]
