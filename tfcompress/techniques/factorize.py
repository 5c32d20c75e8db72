"""Low-rank factorization: a layer becomes two thinner ones whose product is close to it.

A Dense layer or 1x1 convolution becomes two of its kind by the singular value decomposition of its
kernel; any other convolution a vertical one (height x 1) and a horizontal one (1 x width); the
table of an Embedding layer a narrower table and a Dense layer. Done once, before the training that
makes up for the loss, and only where it saves multiply-accumulates, or parameters where these are
asked for. Does not know other techniques.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfcompress import registry
from tfcompress.artifact import Artifact
from tfcompress.graph import cost
from tfcompress.graph.kernels import (
    FROZEN,
    Kernel,
    kernels,
    kernels_and_tables,
    layer_reports,
    named,
    nothing_treated,
    passed_over,
    require_named,
    weighted_layers,
)
from tfcompress.graph.rebuild import rebuild
from tfcompress.graph.wrappers import is_wrapped, plain_copy
from tfcompress.results import CompressionReport
from tfcompress.settings import require_types
from tfcompress.techniques import (
    Level,
    NothingToGain,
    OutOfReach,
    VerificationError,
    _factor_pairs,
    _low_rank,
)
from tfcompress.techniques._calibration import require_calibration
from tfcompress.techniques._factor_pairs import Pair, Price
from tfcompress.techniques._low_rank import Decomposition, Inputs, Ranks

DEFAULT_ENERGY = 0.9
MEASURES = {"macs": "multiply-accumulates", "parameters": "parameters"}
_ELSEWHERE = "kept whole: the target costs less energy in other layers"


@dataclass(frozen=True)
class FactorizationConfig:
    """Which rank each layer gets: by `energy`, by `target`, or one `rank` for all.

    One of them is given; by default `energy`, 0.9.

    Attributes:
      energy: fraction of each kernel's energy (its squared singular values) that the lowest rank
        chosen keeps, in (0, 1].
      target: fraction of the model's cost to remove, at least, in (0, 1); ranks are chosen over all
        layers so that they keep the most.
      round_to: ranks are rounded up to a multiple of this, at least 1; processors compute 8 or 16
        channels at the cost of one.
      data_aware: weigh errors by the inputs that a layer has on the calibration images, which
        keeps more of the model's outputs at the same rank.
      skip: layer names or patterns (`conv1`, `block_*`), separated by `|`, that stay as they are.
      rank: of every layer, at least 1; a layer whose rank would save nothing stays whole.
      of: the cost: `"macs"`, the multiply-accumulates of one image, which Embedding layers have
        none of, so that they stay whole; or `"parameters"`, with which they are treated too: they
        save weights, and their Dense layers add multiply-accumulates.
      calibration: float32 [examples, height, width, channels], preprocessed as for training, or
        int32 [examples, length], ids of tokens, or one such array for each input of the model; read
        where `data_aware`. In a recipe, the data
        set's calibration images.

    Raises:
      ValueError: a value outside its range, or more than one of `energy`, `target` and `rank`.

    Example:
      >>> FactorizationConfig().energy, FactorizationConfig(target=0.5).energy
      (0.9, None)

    Reference:
      Jaderberg, Vedaldi, Zisserman: Speeding up convolutional neural networks with low rank
      expansions, BMVC 2014. Lan et al.: ALBERT: A lite BERT for self-supervised learning, ICLR
      2020 (tables).
    """

    energy: float | None = None
    target: float | None = None
    round_to: int = 1
    data_aware: bool = False
    skip: str = ""
    rank: int | None = None
    of: str = "macs"
    calibration: Any = field(default=None, metadata={"supplied": True}, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_types(self)
        registry.require(self.of, tuple(MEASURES), what="measure of factorize")
        given = [n for n in ("energy", "target", "rank") if getattr(self, n) is not None]
        if len(given) > 1:
            received = ", ".join(f"{name} {getattr(self, name)}" for name in given)
            raise ValueError(
                f"FactorizationConfig takes one of energy, target and rank. Received: {received}."
            )
        if not given:
            object.__setattr__(self, "energy", DEFAULT_ENERGY)
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"FactorizationConfig.rank must be at least 1. Received: {self.rank}.")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise ValueError(
                f"FactorizationConfig.energy must be in (0, 1]. Received: {self.energy}."
                + _advice(self.energy)
            )
        if self.target is not None and not 0 < self.target < 1:
            raise ValueError(
                f"FactorizationConfig.target must be in (0, 1). Received: {self.target}."
                + _advice(self.target)
            )
        if self.round_to < 1:
            raise ValueError(
                f"FactorizationConfig.round_to must be at least 1. Received: {self.round_to}."
            )

    @property
    def settles_at(self) -> float:
        """The layers are factorized from the start."""
        return 0.0

    @property
    def unit(self) -> str:
        """What `of` counts, in words."""
        return MEASURES[self.of]

    def __str__(self) -> str:
        name = next(n for n in ("energy", "target", "rank") if getattr(self, n) is not None)
        return f"factorize({name}={getattr(self, name):g})"


def _advice(value: float) -> str:
    return f" For {value:g}% pass {value / 100:g}." if 1 < value <= 100 else ""


CONFIG = FactorizationConfig

# What is given up of the energy.
LEVEL = Level("energy", lambda level: round(1 - level, 6), highest=0.99)


def unsupported(kernel: Kernel) -> str:
    """Why a kernel cannot be split at any rank; empty where it can."""
    reason = _factor_pairs.unsupported(kernel)
    if reason:
        return reason
    values = kernel.numpy()
    if not np.isfinite(values).all():
        return "has weights that are NaN or infinite"
    return "" if values.any() else "all its weights are zero"


def at_rank(kernel: Kernel, fraction: float) -> np.ndarray:
    """A kernel as the product of the two that would stand for it.

    Args:
      kernel: one for which `unsupported` knows no reason.
      fraction: of its full rank, rounded down to at least 1, in (0, 1].

    Returns:
      float32 of the kernel's shape.
    """
    found = _low_rank.decompose(_factor_pairs.matrix(kernel))
    first, second = found.factors(max(int(fraction * found.full_rank), 1))
    return _factor_pairs.whole(kernel, first @ second)


def skip_reason(kernel: Kernel, config: FactorizationConfig) -> str:
    """Why a kernel is left whole whatever its ranks cost; empty where they decide."""
    if named(kernel.name, config.skip):
        return f"named in skip={config.skip}"
    if kernel.frozen:
        return FROZEN
    return unsupported(kernel)


def skipped(model: Any, config: FactorizationConfig) -> Mapping[str, str]:
    """The layers that stay whole, and why; the weights as they are now decide on ranks.

    Raises:
      ValueError: a target that no ranks reach, or a target and an input of open size.
    """
    return _skipped(model, config, _choose(model, config))


def _skipped(model: Any, config: FactorizationConfig, choice: _Choice) -> Mapping[str, str]:
    return passed_over(
        model,
        lambda kernel: skip_reason(kernel, config) or choice.reasons.get(kernel.name, ""),
        weights=_weights(config),
    )


def _weights(config: FactorizationConfig) -> Callable[[Any], Sequence[Kernel]]:
    """Lists what may be factorized: a table has nothing but parameters to save."""
    return kernels_and_tables if config.of == "parameters" else kernels


@dataclass(frozen=True, eq=False)
class _Choice:
    """What becomes of the layers that could be factorized, by name."""

    ranks: Mapping[str, int]
    reasons: Mapping[str, str]
    decompositions: Mapping[str, Decomposition]
    by_weights: bool
    """Whether other weights could have allowed other ranks."""


def _choose(model: Any, config: FactorizationConfig) -> _Choice:
    treatable = {k.name: k for k in _weights(config)(model) if not skip_reason(k, config)}
    inputs: Mapping[str, Inputs] = {}
    if config.data_aware and config.calibration is not None:
        flat = rebuild(plain_copy(model, technique="factorize"))
        require_calibration(config.calibration, flat, what="FactorizationConfig.calibration")
        inputs = _factor_pairs.inputs_of(flat, list(treatable), config.calibration)
    decompositions = {
        name: _low_rank.decompose(_factor_pairs.matrix(kernel), inputs.get(name))
        for name, kernel in treatable.items()
    }
    by_parameters = config.of == "parameters"
    found = list(treatable.values())
    prices = _factor_pairs.parameters(found) if by_parameters else _factor_pairs.prices(model)
    tables = {name: _ranks(found, prices[name], config) for name, found in decompositions.items()}
    ranks, reasons = {}, {}
    for name, rank in _wanted(model, tables, config).items():
        table = tables[name]
        if rank is None:
            reasons[name] = _ELSEWHERE
        elif rank not in table.cheaper:
            reasons[name] = f"rank {rank} of {table.kept.size} would save no {config.unit}"
        else:
            ranks[name] = rank
    by_weights = config.rank is None and any(table.cheaper for table in tables.values())
    return _Choice(ranks, reasons, decompositions, by_weights)


def _ranks(found: Decomposition, price: Price, config: FactorizationConfig) -> Ranks:
    return Ranks(found.kept, price.whole, price.per_rank, config.round_to)


def _wanted(
    model: Any, tables: Mapping[str, Ranks], config: FactorizationConfig
) -> dict[str, int | None]:
    """The rank that each layer should have, whether it pays or not; None for a whole layer."""
    if config.energy is not None:
        return {name: table.of_energy(config.energy) for name, table in tables.items()}
    if config.rank is not None:
        return {name: table.rounded(config.rank) for name, table in tables.items()}
    assert config.target is not None
    total = _cost(model, config)
    most = _low_rank.removable(list(tables.values()))
    if most < config.target * total:
        raise OutOfReach(
            f"{config}: low ranks can remove at most {most / total:.1%} of the model's {total:,} "
            f"{config.unit}. Ask for less, or leave fewer layers out."
        )
    cheaper = {name: table for name, table in tables.items() if table.cheaper}
    found = _low_rank.ranks_that_remove(list(cheaper.values()), config.target * total)
    lowest = {name: min(table.round_to, table.kept.size) for name, table in tables.items()}
    return {**lowest, **dict(zip(cheaper, found, strict=True))}


def _cost(model: Any, config: FactorizationConfig) -> int:
    return cost.parameters(model) if config.of == "parameters" else cost.macs(model)


def wrap(model: Any, config: FactorizationConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a flat model with two layers in the place of each that is factorized.

    Args:
      model: functional or sequential model, models within it included; TF-MOT's wrappers for
        pruning and clustering are taken off first.
      config: which ranks.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      NothingToGain: with the model's present weights no rank that keeps the energy pays.
      ValueError: no layer can be factorized, a target that no ranks reach, a target and an input of
        open size, `data_aware` without calibration images, or a model that is subclassed or
        quantized.
    """
    del steps_per_epoch, epochs
    flat = rebuild(plain_copy(model, technique="factorize"))
    require_named(flat, config.skip, what="factorize: skip")
    if config.data_aware and config.calibration is None:
        raise ValueError(
            "FactorizationConfig.calibration is needed where data_aware is true. Pass images, "
            "preprocessed as for training."
        )
    choice = _choose(flat, config)
    if not choice.ranks:
        refusal = NothingToGain if choice.by_weights else ValueError
        raise refusal(nothing_treated(str(config), _skipped(flat, config, choice)))
    factors = {n: choice.decompositions[n].factors(rank) for n, rank in choice.ranks.items()}
    return _factor_pairs.split(flat, factors)


def callbacks(config: FactorizationConfig) -> Sequence[Any]:
    """None are needed."""
    del config
    return []


def strip(model: Any) -> Any:
    """Returns the model itself: the two layers are what is exported."""
    return model


def report(before: Any, after: Any, config: FactorizationConfig) -> CompressionReport:
    """Describes every layer with weights: factorized and to which rank, or left whole and why."""
    known, weights = weighted_layers(before), _weights(config)
    made = {p.name: p for p in _factor_pairs.pairs(after) if p.first.name not in known}
    # Without the calibration images the choice may have been another one: the model tells it.
    unpaid = f"its rank for {config} would save no {config.unit}"
    reasons = {
        kernel.name: _ELSEWHERE if config.target else unpaid
        for kernel in weights(before)
        if kernel.name not in made
    } | {name: why for name, why in skipped(before, config).items() if name not in made}
    return CompressionReport(
        "factorize",
        layer_reports(
            before,
            after,
            reasons=reasons,
            became={name: (pair.first.name, name) for name, pair in made.items()},
            details={name: _detail(pair) for name, pair in made.items()},
            weights=weights,
        ),
    )


def _detail(pair: Pair) -> str:
    added = int(np.prod(pair.second.variable.shape))
    more = f", at {added:,} multiply-accumulates for each row read" if pair.of_table else ""
    return f"rank {pair.rank} of {pair.full_rank}{more}"


def verify(model: Any, config: FactorizationConfig, *, before: Any = None) -> None:
    """Counts what each pair of layers costs against the one that it stands for.

    Raises:
      VerificationError: there is no pair, one costs more than it saves, or the model costs more
        than the target allows.
    """
    del before
    by_parameters = config.of == "parameters"
    found = [p for p in _factor_pairs.pairs(model) if by_parameters or not p.of_table]
    if not found:
        raise VerificationError(
            f"factorize: the model has no pair of layers of low rank, expected some for {config}. "
            "Train what wrap returns."
        )
    counts = {} if by_parameters else cost.macs_by_kernel(model)
    removed = 0
    for pair in found:
        own, whole = pair.elements if by_parameters else _costs(pair, counts)
        if own >= whole:
            raise VerificationError(
                f"factorize: layer {pair.name} has rank {pair.rank} of {pair.full_rank}, which "
                f"costs {own:,} {config.unit} where the whole layer costs {whole:,}."
            )
        removed += whole - own
    # Quantization adds operators of its own.
    if config.target is not None and not is_wrapped(model):
        total = _cost(model, config)
        if removed < config.target * (total + removed) * (1 - 1e-9):
            raise VerificationError(
                f"factorize: the model has {total:,} {config.unit}, {removed:,} fewer than with "
                f"whole layers, expected {config.target:.1%} fewer."
            )


def _costs(pair: Pair, counts: Mapping[tuple[str, str], int | None]) -> tuple[int, int]:
    """Multiply-accumulates of a pair and of the layer that it stands for; weights at open size."""
    own, whole = pair.elements
    parts = [counts[kernel.name, kernel.part] for kernel in (pair.first, pair.second)]
    first, second = parts
    if first is None or second is None:
        return own, whole
    positions = second // int(np.prod(pair.second.variable.shape))
    return first + second, whole * positions


def verify_artifact(
    artifact: Artifact, report: CompressionReport, config: FactorizationConfig
) -> None:
    """Looks in the file for the two kernels of each factorized layer.

    Raises:
      VerificationError: no two weight tensors have as many weights as a pair.
    """
    found = {**artifact.weights(), **(artifact.tables() if config.of == "parameters" else {})}
    sizes = [weight.values.size for weight in found.values()]
    for layer in report.layers:
        # A tensor may serve several layers of one shape, but never both of a pair.
        if layer.treated and not any(
            (layer.kernel_parameters or 0) - size in sizes[:index]
            for index, size in enumerate(sizes)
        ):
            raise VerificationError(
                f"factorize: no two weight tensors of the exported file have together the "
                f"{layer.kernel_parameters} weights of layer {layer.name} ({layer.detail}). "
                f"Found: {', '.join(map(str, sizes))}."
            )
