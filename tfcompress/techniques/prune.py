"""Magnitude pruning: the weights nearest to zero become zero while the model is trained.

Driven by TF-MOT's schedule objects. The masks are applied after each training step by one callback,
so that any layer with a kernel can be pruned, the model needs no wrapper, and the state of the
pruning is in the weights and the step number alone. Does not know other techniques.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfcompress import registry
from tfcompress.artifact import Artifact
from tfcompress.graph.kernels import (
    FROZEN,
    Kernel,
    kernels,
    layer_reports,
    named,
    nothing_treated,
    passed_over,
    require_named,
)
from tfcompress.graph.wrappers import plain_copy
from tfcompress.results import CompressionReport
from tfcompress.settings import require_types
from tfcompress.techniques import Level, VerificationError, as_it_is

SCHEDULES = ("constant", "polynomial")
ALLOCATIONS = ("uniform", "sensitivity")
# Shares are rounded down to whole weights, and a caller may round them.
_SHARE_TOLERANCE = 0.005
_N_OF_M = re.compile(r"(\d+):(\d+)")
_BLOCK = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True)
class PruningConfig:
    """How much is pruned, in which pattern, and when.

    Attributes:
      target_sparsity: fraction of each kernel's weights that end as zero, in [0, 1). With an N:M
        pattern it follows from the pattern and may be left out.
      pattern: `"unstructured"`; `"N:M"` such as `"2:4"`, at most N non-zero weights in every M
        consecutive ones along the input channels; or `"RxC"` such as `"4x1"`, whole blocks of R
        inputs by C outputs (Dense layers only).
      schedule: `"polynomial"`, which raises the sparsity along a cubic curve, or `"constant"`,
        which prunes to the target at once.
      initial_sparsity: where the polynomial schedule starts, in [0, target_sparsity].
      begin: fraction of the training at which pruning starts, in [0, 1).
      end: fraction of the training at which the target is reached, in (begin, 1]; the rest
        recovers.
      updates: how often the masks are chosen anew between begin and end, at least 1.
      skip: layer names or patterns (`conv1`, `block_*`), separated by `|`, that stay dense.
      allocation: `"uniform"`, the same sparsity for every kernel, or `"sensitivity"`, the target
        for all pruned kernels together, of which those that mind it least take the most.
      sparsities: for `allocation="sensitivity"`, the sparsity of each layer by its name, in [0, 1),
        what `tfcompress.sensitivity(model, images, labels).sparsities(0.8, layers=treated(model,
        config))` gives; others stay dense. In a recipe, what is measured on the validation split
        before the stage.

    Raises:
      ValueError: a value outside its range.

    Example:
      >>> PruningConfig(pattern="2:4").target_sparsity
      0.5

    Reference:
      Zhu, Gupta: To prune, or not to prune, 2017 (cubic schedule).
    """

    target_sparsity: float | None = None
    pattern: str = "unstructured"
    schedule: str = "polynomial"
    initial_sparsity: float = 0.0
    begin: float = 0.0
    end: float = 0.5
    updates: int = 50
    skip: str = ""
    allocation: str = "uniform"
    sparsities: Any = field(
        default=None, metadata={"supplied": True, "of_model": None}, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require_types(self)
        registry.require(self.schedule, SCHEDULES, what="pruning schedule")
        registry.require(self.allocation, ALLOCATIONS, what="allocation of prune")
        self._check_pattern()
        target = self.target_sparsity
        if not isinstance(target, (int, float)) or not 0 <= target < 1:
            advice = ""
            if isinstance(target, (int, float)) and 1 < target < 100:
                advice = f" For {target}% sparsity pass {target / 100:g}."
            raise ValueError(
                f"PruningConfig.target_sparsity must be in [0, 1). Received: {target}.{advice}"
            )
        if not 0 <= self.initial_sparsity <= target:
            raise ValueError(
                "PruningConfig.initial_sparsity must be in [0, target_sparsity]. "
                f"Received: {self.initial_sparsity} with target_sparsity {target}."
            )
        # The constant schedule prunes once and for all: its end says nothing.
        end = 1 if self.schedule == "constant" else self.end
        if not 0 <= self.begin < end <= 1:
            raise ValueError(
                "PruningConfig.begin and end are fractions of the training, 0 <= begin < end <= 1. "
                f"Received: begin {self.begin}, end {self.end}."
            )
        if self.updates < 1:
            raise ValueError(f"PruningConfig.updates must be at least 1. Received: {self.updates}.")
        self._check_allocation()

    @property
    def only_classes(self) -> str:
        """Why these settings are for a classification alone; empty where they are for any task."""
        by_sensitivity = self.allocation == "sensitivity"
        return (
            "allocation=sensitivity goes by how often the class changes" if by_sensitivity else ""
        )

    def _check_allocation(self) -> None:
        if self.allocation == "sensitivity" and self.n_of_m:
            raise ValueError(
                f"PruningConfig.pattern {self.pattern!r} gives every kernel the same sparsity. "
                "Received allocation: 'sensitivity'. Leave one of them out."
            )
        if self.sparsities is None:
            return
        if self.allocation == "uniform":
            raise ValueError(
                "PruningConfig.sparsities go with allocation='sensitivity'. Received: 'uniform'."
            )
        for name, value in self.sparsities.items():
            if not 0 <= value < 1:
                raise ValueError(
                    f"PruningConfig.sparsities must be in [0, 1). Received: {value} for {name}."
                )

    @property
    def prepared(self) -> bool:
        """Whether it is known how much of each kernel goes."""
        return self.allocation == "uniform" or self.sparsities is not None

    def _check_pattern(self) -> None:
        if self.pattern == "unstructured":
            # 0.5 halves the weights; a caller who wants more says so.
            object.__setattr__(
                self,
                "target_sparsity",
                0.5 if self.target_sparsity is None else self.target_sparsity,
            )
            return
        if self.n_of_m:
            kept, group = self.n_of_m
            implied = 1 - kept / group if 0 < kept < group else None
            if implied is None or self.target_sparsity not in (None, implied):
                raise ValueError(
                    f"PruningConfig.pattern {self.pattern!r} keeps {kept} of {group} weights; its "
                    f"target_sparsity is {implied}; N must be in [1, M). "
                    f"Received target_sparsity: {self.target_sparsity}. Leave it out."
                )
            object.__setattr__(self, "target_sparsity", implied)
        elif self.block and min(self.block) >= 1:
            if self.target_sparsity is None:
                object.__setattr__(self, "target_sparsity", 0.5)
        else:
            raise ValueError(
                "PruningConfig.pattern must be 'unstructured', 'N:M' such as '2:4', or 'RxC' such "
                f"as '4x1'. Received: {self.pattern!r}."
            )

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """(N, M) of an N:M pattern."""
        match = _N_OF_M.fullmatch(self.pattern)
        return (int(match[1]), int(match[2])) if match else None

    @property
    def block(self) -> tuple[int, int] | None:
        """(inputs, outputs) of a block pattern."""
        match = _BLOCK.fullmatch(self.pattern)
        return (int(match[1]), int(match[2])) if match else None

    @property
    def settles_at(self) -> float:
        """Fraction of the training after which the target sparsity is reached."""
        return self.begin if self.schedule == "constant" else self.end


CONFIG = PruningConfig

LEVEL = Level("target_sparsity", as_it_is, highest=0.99)


def skip_reason(kernel: Kernel, config: PruningConfig) -> str:
    """Why a kernel stays dense; empty where it is pruned."""
    shape = kernel.variable.shape
    if named(kernel.name, config.skip):
        return f"named in skip={config.skip}"
    if kernel.frozen:
        return FROZEN
    if kernel.depthwise:
        return "depthwise: few weights, each with a large share of its channel"
    if config.sparsities is not None and not target_of(kernel, config):
        return "too sensitive: its share of the zeros is none"
    if config.n_of_m and kernel.input_axis is None:
        return f"shape {tuple(shape)}: no single axis holds the inputs that {config.pattern} groups"
    if config.n_of_m and shape[kernel.input_axis] % config.n_of_m[1]:
        return f"{shape[kernel.input_axis]} input channels are no multiple of {config.n_of_m[1]}"
    if config.block and len(shape) != 2:
        return f"shape {tuple(shape)}: block patterns are for kernels of two axes, as of Dense"
    if config.block and (shape[0] % config.block[0] or shape[1] % config.block[1]):
        return f"shape {tuple(shape)} is no multiple of the block {config.pattern}"
    return ""


def target_of(kernel: Kernel, config: PruningConfig) -> float:
    """The fraction of a kernel's weights that end as zero."""
    if config.sparsities is None:
        return config.target_sparsity or 0.0
    if kernel.label in config.sparsities:
        return float(config.sparsities[kernel.label])
    # A separable convolution becomes two layers when it is quantized; one keeps its name.
    own = [v for name, v in config.sparsities.items() if name.startswith(f"{kernel.name}/")]
    return float(own[0]) if len(own) == 1 else 0.0


def treated(model: Any, config: PruningConfig) -> list[str]:
    """The kernels that are pruned by a config, by the names that `sparsities` has for them.

    Args:
      model: what `wrap` is given.
      config: with or without `sparsities`; how a sparsity is shared out makes no difference.
    """
    config = dataclasses.replace(config, sparsities=None)
    return [kernel.label for kernel in kernels(model) if not skip_reason(kernel, config)]


def skipped(model: Any, config: PruningConfig) -> Mapping[str, str]:
    """The layers, or weights of a layer, that are not pruned, and why."""
    return passed_over(model, lambda kernel: skip_reason(kernel, config))


def wrap(model: Any, config: PruningConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a copy of the model; the callback does the pruning.

    Args:
      model: functional or sequential model, models within it included; TF-MOT's wrappers for
        pruning and clustering are taken off first, and what they made is kept.
      config: what to prune.
      steps_per_epoch: batches in one epoch; the callback reads it from `fit` itself.
      epochs: of the training.

    Raises:
      ValueError: no layer can be pruned under the config, the schedule has no step to act on, or
        the model is subclassed or quantized.
    """
    copy = plain_copy(model, technique="prune")
    require_named(copy, config.skip, what="prune: skip")
    _require_shares(copy, config)
    if all(skip_reason(kernel, config) for kernel in kernels(copy)):
        raise ValueError(nothing_treated(f"prune({config.pattern})", skipped(copy, config)))
    if steps_per_epoch * epochs < 1:
        raise ValueError("prune needs a training of at least 1 step.")
    return copy


def _require_shares(model: Any, config: PruningConfig) -> None:
    """Refuses sparsities that are not those of the model's kernels, or together another target."""
    if not config.sparsities:
        return
    names = treated(model, config)
    sizes = {k.label: int(np.prod(k.variable.shape)) for k in kernels(model) if k.label in names}
    others = sorted(set(config.sparsities) - {kernel.label for kernel in kernels(model)})
    if others:
        raise ValueError(
            f"PruningConfig.sparsities name what the model does not have: {', '.join(others)}. "
            f"Kernels: {', '.join(names)}."
        )
    zeros = sum(config.sparsities.get(name, 0.0) * size for name, size in sizes.items())
    found, target = zeros / sum(sizes.values()), config.target_sparsity or 0.0
    if abs(found - target) > _SHARE_TOLERANCE:
        raise ValueError(
            f"PruningConfig.sparsities make {found:.3g} of all pruned weights zero, not "
            f"target_sparsity {target:.3g}. Share out among the kernels that are pruned: "
            "sparsities(target_sparsity, layers=prune.treated(model, config))."
        )


def callbacks(config: PruningConfig) -> Sequence[Any]:
    """The callback that owns the masks.

    Raises:
      ValueError: it is not known how a sparsity is shared out among the layers.
    """
    from tfcompress.techniques._pruning_masks import PruningMasks

    if not config.prepared:
        raise ValueError(
            "prune(allocation=sensitivity) needs the sparsity of each layer. Received: none. Pass "
            "PruningConfig(sparsities=tfcompress.sensitivity(model, images, labels).sparsities("
            f"{config.target_sparsity}, layers=prune.treated(model, config))), measured on "
            "validation images."
        )

    return [PruningMasks(config)]


def at_once(model: Any, config: PruningConfig) -> None:
    """Sets the smallest weights to zero in one step, with no training after it.

    Args:
      model: what `wrap` gave; changed in place.
      config: of the schedule only its end counts.
    """
    from tfcompress.techniques._pruning_masks import prune_now

    for kernel in kernels(model):
        if not skip_reason(kernel, config):
            prune_now(kernel, config)


def strip(model: Any) -> Any:
    """Returns the model itself: pruning adds nothing that would have to go."""
    return model


def report(before: Any, after: Any, config: PruningConfig) -> CompressionReport:
    """Describes every layer with weights: pruned, or skipped and why."""
    reasons = skipped(before, config)
    details: dict[str, str] = {}
    if config.sparsities is not None:
        for kernel in kernels(before):
            if not skip_reason(kernel, config):
                own = f"{target_of(kernel, config):.1%} by sensitivity"
                part = "" if kernel.label == kernel.name else f"{kernel.part}: "
                told = details.get(kernel.name)
                details[kernel.name] = f"{told}, {part}{own}" if told else f"{part}{own}"
    reports = layer_reports(before, after, reasons=reasons, details=details)
    return CompressionReport("prune", reports)


def verify(model: Any, config: PruningConfig, *, before: Any = None) -> None:
    """Counts the zeros of each pruned kernel, and the pattern where there is one.

    Raises:
      VerificationError: a kernel has fewer zeros than the target asks for.
    """
    del before
    if not config.prepared:
        raise VerificationError(
            "prune: without PruningConfig.sparsities nothing says how many zeros a layer should "
            "have. Pass the config that the model was trained under."
        )
    for kernel in kernels(model):
        if skip_reason(kernel, config):
            continue
        values = kernel.numpy()
        target = target_of(kernel, config)
        zeros, wanted = int((values == 0).sum()), expected_zeros(values.size, target, config)
        if zeros < wanted:
            raise VerificationError(
                f"prune: layer {kernel.name} has {zeros} zeros of {values.size} weights, "
                f"expected at least {wanted} (target_sparsity {target:.4g}). "
                "Was what techniques.prune.callbacks gives passed to fit, and did the training "
                f"reach {config.settles_at:.0%} of its steps?"
            )
        if config.n_of_m and kernel.input_axis:
            nonzero = np.moveaxis(values != 0, kernel.input_axis, -1)
            _verify_n_of_m(kernel.name, nonzero, *config.n_of_m)


def expected_zeros(size: int, target: float, config: PruningConfig) -> int:
    """Zeros that a kernel of `size` weights must have at the end, in whole blocks."""
    block = config.block[0] * config.block[1] if config.block else 1
    return int(size // block * target + 1e-6) * block


def _verify_n_of_m(name: str, nonzero: np.ndarray, kept: int, group: int) -> None:
    groups = nonzero.reshape(-1, group).sum(axis=1)
    if groups.max() > kept:
        raise VerificationError(
            f"prune: layer {name} keeps {groups.max()} weights in a group of {group}, expected "
            f"{kept}."
        )


def verify_artifact(artifact: Artifact, report: CompressionReport, config: PruningConfig) -> None:
    """Counts the zeros in the file against those of the Keras model.

    Raises:
      VerificationError: the file has fewer zeros than the pruned layers.
    """
    del config  # The report holds what was counted in the Keras model.
    expected = sum(
        round(layer.sparsity * layer.kernel_parameters)
        for layer in report.layers
        if layer.treated and layer.kernel_parameters and layer.sparsity is not None
    )
    found = sum(int((weight.values == 0).sum()) for weight in artifact.weights().values())
    if found < expected:
        raise VerificationError(
            f"prune: the exported file has {found} zero weights, the pruned layers have {expected}."
        )
