"""Trials of compression in transfer learning, and what came of each, as data.

Knows what tells one trial from another. Does not know how it is carried out, nor what follows from
many of them (`transfer_comparisons`). No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfcompress.registry import require

NONE = "none"
"""The compression, and the order, of the trials that every other is compared with."""

UPSTREAM = "upstream"
DOWNSTREAM = "downstream"
ORDERS = (NONE, UPSTREAM, DOWNSTREAM)

FULL = "full"
FINE_TUNE = "fine_tune"
LINEAR_PROBE = "linear_probe"


@dataclass(frozen=True)
class Trial:
    """One pretrained backbone brought to one task in one way, with one seed.

    Attributes:
      backbone: name, width and image size, such as `"MobileNet 0.25, 64 px"`.
      target: the data set of the task.
      seed: of the head, the order of the images, and which images they are.
      compression: a recipe, or `NONE`.
      order: `UPSTREAM` compresses the pretrained weights and then transfers them, `DOWNSTREAM`
        transfers first; `NONE` where nothing is compressed.
      frozen: fraction of the backbone's layers with weights, from the input on, that the transfer
        leaves as they are, in [0, 1]; 0 is a full fine-tune, 1 a linear probe.
      upstream: the data set on which an upstream compression was trained; "" for none, where it is
        done in one step.

    Raises:
      ValueError: a fraction out of range, an order that does not go with the compression, or frozen
        layers with a downstream compression, which trains all of them.
    """

    backbone: str
    target: str
    seed: int
    compression: str = NONE
    order: str = NONE
    frozen: float = 0.0
    upstream: str = ""

    def __post_init__(self) -> None:
        require(self.order, ORDERS, what="order of compression and transfer")
        if not 0 <= self.frozen <= 1:
            raise ValueError(
                f"Trial.frozen is a fraction of the layers, in [0, 1]. Received: {self.frozen}. "
                "For 50% pass 0.5."
            )
        if (self.compression == NONE) != (self.order == NONE):
            raise ValueError(
                "Trial.order is none exactly where the compression is. "
                f"Received: {self.order} with {self.compression}."
            )
        if self.order == DOWNSTREAM and self.frozen:
            raise ValueError(
                "A downstream compression trains every layer: Trial.frozen must be 0. "
                f"Received: {self.frozen}."
            )
        if self.upstream and self.order != UPSTREAM:
            raise ValueError(
                f"Trial.upstream belongs to the order upstream. Received: {self.order}."
            )

    @property
    def regime(self) -> str:
        """`FULL`, `LINEAR_PROBE`, or `FINE_TUNE` for what lies between them."""
        return {0.0: FULL, 1.0: LINEAR_PROBE}.get(self.frozen, FINE_TUNE)

    def __str__(self) -> str:
        where = "" if self.order == NONE else f" {self.order}"
        return (
            f"{self.backbone} on {self.target}, {self.compression}{where}, "
            f"{self.frozen:g} frozen, seed {self.seed}"
        )


@dataclass(frozen=True)
class ModelSizes:
    """What a trained classifier weighs, counted in several ways.

    Attributes:
      parameters: of the whole classifier, with its head.
      macs: multiply-accumulates of one image.
      kernel_weights: elements of the backbone's kernels.
      nonzero_weights: of `kernel_weights`, those that are not zero.
      distinct_weights: the greatest number of distinct values in one of the kernels that the
        compression treats, in any of them where it treats none by value.
      int8_bytes: of the file that TFLite's converter makes of it; None where none was made.
      int8_gzip_bytes: of that file gzipped.
    """

    parameters: int
    macs: int
    kernel_weights: int
    nonzero_weights: int
    distinct_weights: int
    int8_bytes: int | None = None
    int8_gzip_bytes: int | None = None


@dataclass(frozen=True)
class TrialResult:
    """What came of a trial.

    Attributes:
      trial: which.
      accuracy: fraction right on the target's whole test split.
      validation_accuracy: of the epoch that was kept.
      test_images: in that split.
      sizes: of the classifier.
      head_epochs: of the head alone, over the target's training images, encoded once.
      head_images: encoded images that it saw, each as often as it was shown.
      epochs: of the layers that are not frozen, those of the compression included; 0 for a linear
        probe.
      images: training images of the target that they saw, each as often as it was shown.
      upstream_images: likewise, of the data set that an upstream compression was trained on.
      frozen_layers: of the backbone, with weights.
      backbone_layers: all of them with weights.
      seconds: wall time of the trial, without what several trials share.
      data_sha256: of the target's images and labels.
    """

    trial: Trial
    accuracy: float
    validation_accuracy: float
    test_images: int
    sizes: ModelSizes
    head_epochs: int
    head_images: int
    epochs: int
    images: int
    upstream_images: int
    frozen_layers: int
    backbone_layers: int
    seconds: float
    data_sha256: str


@dataclass(frozen=True)
class TransferStudy:
    """What was found so far.

    Attributes:
      results: of the trials that are done, in the order of the plan.
      planned: how many trials there are in all.
      config: JSON-ready.
      environment: see `environment.collect`.
    """

    results: tuple[TrialResult, ...]
    planned: int
    config: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Whether no trial is missing."""
        return len(self.results) == self.planned
