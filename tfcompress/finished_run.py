"""What a finished run left for others to go on with: its baseline, its data, its settings.

Knows where a run keeps them. Does not know what they are wanted for.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcompress import data, durable, results
from tfcompress._keras import keras
from tfcompress.config import BASELINE
from tfcompress.data import DataConfig, Dataset
from tfcompress.export import ExportConfig
from tfcompress.goals import CLASSIFICATION
from tfcompress.metadata import preprocessing_of
from tfcompress.run_folder import RunFolder
from tfcompress.tokenization import Preparation, Tokenization
from tfcompress.tokenizer import FILE as TOKENIZER_FILE
from tfcompress.tokenizer import Tokenizer
from tfcompress.training import TrainingConfig


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run of `experiments.compress`.

    Attributes:
      name: of its backbone or model.
      baseline: the trained float model, a tf_keras model.
      baseline_sha256: of the file that it was read from.
      dataset: the run's data set, the same images as then.
      preprocessing: of the model.
      training: how the baseline was trained.
      export: how its files were made.
    """

    name: str
    baseline: Any
    baseline_sha256: str
    dataset: Dataset
    preprocessing: Preparation
    training: TrainingConfig
    export: ExportConfig

    def require_classes(self, what: str) -> None:
        """Refuses a run of a regression.

        Args:
          what: needs classes, for the message.

        Raises:
          ValueError: the data set has none.
        """
        if self.dataset.goal.task != CLASSIFICATION:
            raise ValueError(
                f"{what} judges by accuracy, so it takes the run of a classification. Received: "
                f"{self.dataset.name}, a {self.dataset.goal.task}. Pass another --run_dir."
            )

    def require_images(self, what: str) -> None:
        """Refuses a run on texts.

        Args:
          what: needs images, for the message.

        Raises:
          ValueError: the data set is one of texts.
        """
        if self.dataset.is_text:
            raise ValueError(
                f"{what} takes the run of a network for images. Received: {self.dataset.name}, a "
                "data set of texts. Pass another --run_dir."
            )

    def fine_tuning(self, *, epochs: int, learning_rate: float, seed: int) -> TrainingConfig:
        """How the baseline is trained on: as before, to the end, from another rate.

        Args:
          epochs: at least 1.
          learning_rate: the highest one.
          seed: of order and augmentation.
        """
        return dataclasses.replace(
            self.training,
            epochs=epochs,
            learning_rate=learning_rate,
            early_stopping_patience=0,
            seed=seed,
        )


def load(run_dir: str | os.PathLike[str]) -> FinishedRun:
    """Reads what a finished run left.

    Args:
      run_dir: its folder.

    Raises:
      FileNotFoundError: it has no baseline, or no results.
      ValueError: its data cannot be had any more, or have changed.
      TokenizerError: the tokenizer of a run on texts is missing or damaged.
    """
    folder = RunFolder(run_dir)
    path = folder.model(BASELINE)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: --run_dir must be the folder of a finished run of "
            "experiments.compress."
        )
    found = results.load(folder.root)
    record = next(s.config["preprocessing"] for s in found.stages if "preprocessing" in s.config)
    preprocessing = preprocessing_of(record, name=f"the preprocessing of {folder.root}")
    dataset = _dataset(DataConfig(**found.config["data"]), preprocessing, folder=folder)
    folder.require_same_data(dataset.checksums())
    backbone = found.config["backbone"]
    return FinishedRun(
        name=str(backbone.get("name") or Path(backbone["path"]).stem),
        baseline=baseline(path),
        baseline_sha256=durable.sha256_of_file(path),
        dataset=dataset,
        preprocessing=preprocessing,
        training=_training(found.config["training"]),
        export=_export(found.config["export"]),
    )


def _dataset(config: DataConfig, preprocessing: Preparation, *, folder: RunFolder) -> Dataset:
    """The run's data set; of texts, as the tokenizer that lies beside its files has them."""
    if not isinstance(preprocessing, Tokenization):
        return data.load(config)
    tokenizer = Tokenizer.from_file(folder.artifact(BASELINE).with_name(TOKENIZER_FILE))
    return data.load(
        config, tokenize=lambda texts: tokenizer.token_ids(texts, length=preprocessing.length)
    )


def baseline(path: Path) -> Any:
    """The plain model that a run kept.

    Args:
      path: of its `.keras` file.

    Raises:
      ValueError: the file is damaged.
    """
    # Registers the layers of the normal form, which a text encoder has.
    from tfcompress.graph import _layers as _registered  # noqa: F401

    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be loaded ({error}); it may be damaged. Give the run's own command "
            "again, which writes it anew."
        ) from error


def _training(record: dict[str, Any]) -> TrainingConfig:
    """As then, but on the plain device, as the baseline is loaded."""
    options = _known(TrainingConfig, record)
    augmentation = data.pipeline.AugmentationConfig(**options.pop("augmentation"))
    options |= {"strategy": "none", "precision": "float32"}
    return TrainingConfig(augmentation=augmentation, **options)


def _export(record: dict[str, Any]) -> ExportConfig:
    options = _known(ExportConfig, record)
    return ExportConfig(**{**options, "formats": tuple(options["formats"])})


def _known(kind: Any, record: dict[str, Any]) -> dict[str, Any]:
    """The settings that are still known; an earlier version may have had others."""
    fields = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in record.items() if name in fields}
