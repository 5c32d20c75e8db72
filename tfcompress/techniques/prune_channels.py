"""Channel pruning: whole channels leave the model, which becomes smaller and faster anywhere.

What must go together goes together: the channels that an addition joins, with their batch
normalizations, depthwise convolutions and gates; those of a head of attention. The model is cut
when it is wrapped and trained as it is then; `rounds` cuts and trains several times. Does not know
other techniques.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfcompress import registry
from tfcompress.artifact import Artifact
from tfcompress.graph import cost
from tfcompress.graph.channels import CONSUMES, ChannelGraph, Group, Slot
from tfcompress.graph.kernels import (
    layer_reports,
    nothing_treated,
    require_named,
    weighted_layers,
)
from tfcompress.graph.normal_form import normalize
from tfcompress.graph.wrappers import plain_copy
from tfcompress.results import CompressionReport
from tfcompress.settings import require_types
from tfcompress.techniques import Level, OutOfReach, VerificationError, as_it_is

CRITERIA = ("l1", "l2", "bn_scale", "taylor")
RANKINGS = ("global", "layer", "per_cost")
MEASURES = ("macs", "parameters", "latency")


@dataclass(frozen=True)
class ChannelPruningConfig:
    """How much of a model goes, and which channels.

    Attributes:
      target: fraction of what `of` counts that the model loses, in (0, 1).
      of: `"macs"`, `"parameters"`, or `"latency"`, which is measured.
      importance: `"l1"` or `"l2"`, the norm of the weights that make a channel, in units of its
        layer's mean; `"bn_scale"`, the size of its batch normalizations' gamma, likewise, so that
        channels without one stay;
        `"taylor"`, the squared first-order change of the loss, which needs examples.
      ranking: `"global"`, the least important units of the model go; `"layer"`, the same fraction
        of each layer's; `"per_cost"`, those of the least importance for what they cost, so that a
        head of an encoder counts as the many units that cost as much together: for `"taylor"`
        alone, as norms are relative to those of a layer.
      round_to: channels that a layer keeps are a multiple of it, or all, at least 1. Integer
        kernels of processors take 4 or more at a time.
      rounds: the model is cut and trained so many times, by equal factors, at least 1.
      least_kept: fraction of each layer's channels that stays in any case, in (0, 1].
      skip: names or patterns (`conv1`, `block_*`), separated by `|`, of layers that go on giving
        all of their channels.
      examples: what the model takes and what it should give for it, as a pair of arrays: float32
        [n, ...], and int64 classes [n] or float32 targets [n, ...], whose differences count in the
        units of a Rescaling that the model ends in. In a recipe, images of the training split.
      latency: gives the time of one call of a model, in ms. In a recipe, of its int8 file on one
        thread of this machine's processor.
      removed: the units of channels that go, as `choose` found them, so that they are not chosen
        again. In a recipe, chosen once and kept.

    Raises:
      ValueError: a value outside its range, or an unknown name.

    Example:
      >>> ChannelPruningConfig(0.75, rounds=2).target_of_round
      0.5

    Reference:
      Fang et al.: DepGraph: Towards any structural pruning, CVPR 2023 (what goes together).
      Molchanov et al.: Importance estimation for neural network pruning, CVPR 2019 (Taylor).
      Michel et al.: Are sixteen heads really better than one?, NeurIPS 2019 (heads).
    """

    target: float = 0.5
    of: str = "macs"
    importance: str = "l2"
    ranking: str = "global"
    round_to: int = 4
    rounds: int = 1
    least_kept: float = 0.1
    skip: str = ""
    examples: Any = field(default=None, metadata={"supplied": True}, repr=False, compare=False)
    latency: Any = field(default=None, metadata={"supplied": True}, repr=False, compare=False)
    removed: Any = field(
        default=None, metadata={"supplied": True, "of_model": None}, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require_types(self)
        registry.require(self.of, MEASURES, what="measure of prune_channels")
        registry.require(self.importance, CRITERIA, what="importance of channels")
        registry.require(self.ranking, RANKINGS, what="ranking of channels")
        if self.ranking == "per_cost" and self.importance != "taylor":
            raise ValueError(
                "ChannelPruningConfig.ranking=per_cost weighs what the loss feels against what it "
                f"saves. Received: importance={self.importance}, which says nothing of the loss. "
                "Pass importance=taylor, or ranking=global."
            )
        if not 0 < self.target < 1:
            advice = f" For {self.target}% pass {self.target / 100:g}." if self.target > 1 else ""
            raise ValueError(
                f"ChannelPruningConfig.target must be in (0, 1). Received: {self.target}.{advice}"
            )
        if not 0 < self.least_kept <= 1:
            raise ValueError(
                f"ChannelPruningConfig.least_kept must be in (0, 1]. Received: {self.least_kept}."
            )
        for name in ("round_to", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"ChannelPruningConfig.{name} must be at least 1. "
                    f"Received: {getattr(self, name)}."
                )

    @property
    def settles_at(self) -> float:
        """The channels are gone from the start."""
        return 0.0

    @property
    def target_of_round(self) -> float:
        """The fraction that each round takes of what the one before it left."""
        return float(1 - (1 - self.target) ** (1 / self.rounds))


CONFIG = ChannelPruningConfig

LEVEL = Level("target", as_it_is, highest=0.99)


def rounds(config: ChannelPruningConfig) -> Sequence[ChannelPruningConfig]:
    """One config for each time that the model is cut and trained."""
    # Of what each round leaves: after all of them, what is asked of the whole.
    least_kept = config.least_kept ** (1 / config.rounds)
    once = dataclasses.replace(
        config, target=config.target_of_round, rounds=1, least_kept=least_kept
    )
    return [once] * config.rounds


def skipped(model: Any, config: ChannelPruningConfig) -> Mapping[str, str]:
    """The layers that lose nothing, and why."""
    normal = _plain(model)
    return _reasons(normal, _followed(normal, config))


def _reasons(normal: Any, graph: ChannelGraph) -> dict[str, str]:
    reasons = {
        name: graph.left_alone(layer.name) for name, layer in weighted_layers(normal).items()
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _plain(model: Any) -> Any:
    return normalize(plain_copy(model, technique="prune_channels"), check=False)


def wrap(model: Any, config: ChannelPruningConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a smaller model, with the weights of the channels that it keeps.

    Args:
      model: functional or Sequential model; it is brought to the normal form first.
      config: what goes. Of several `rounds` this is the first.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      OutOfReach: too few channels of the model can be removed to reach the target.
      ValueError: none can, or the criterion or the measure needs something that was not given.
      ChannelRemovalError: the smaller model computes something else than the given one with the
        channels set to zero.
    """
    from tfcompress.graph.channel_removal import without

    del steps_per_epoch, epochs
    normal = _plain(model)
    require_named(normal, config.skip, what="prune_channels: skip")
    graph = _followed(normal, config)
    gone = config.removed if config.removed is not None else _chosen(normal, graph, config)
    free = np.concatenate([[], *(group.units for group in graph.groups if not group.reason)])
    if others := sorted(set(gone) - set(free.astype(int).tolist())):
        raise ValueError(
            f"ChannelPruningConfig.removed holds units that {model.name!r} does not have or must "
            f"keep: {others}. Take what choose gives for this model and these settings."
        )
    removed = np.zeros(graph.count, bool)
    removed[list(gone)] = True
    return without(normal, graph, removed)


def choose(model: Any, config: ChannelPruningConfig) -> tuple[int, ...]:
    """The units of channels that `wrap` removes, for `removed`.

    Args:
      model: what `wrap` is given.
      config: what goes.

    Raises:
      ValueError: as `wrap`.
    """
    normal = _plain(model)
    require_named(normal, config.skip, what="prune_channels: skip")
    return _chosen(normal, _followed(normal, config), config)


def _chosen(normal: Any, graph: ChannelGraph, config: ChannelPruningConfig) -> tuple[int, ...]:
    from tfcompress.graph.channel_removal import Remaining, without
    from tfcompress.techniques._channel_choice import UnreachableError, chosen
    from tfcompress.techniques._channel_importance import importance, require_examples

    _require_supplied(config)
    if config.importance == "taylor":
        require_examples(config.examples, normal)
    rated = importance(normal, graph, config.importance, examples=config.examples)
    groups = [group for group in graph.groups if not group.reason]
    if not groups:
        raise ValueError(nothing_treated("prune_channels", _reasons(normal, graph)))
    remaining = Remaining(normal, graph)

    def latency(kept: np.ndarray) -> float:
        return float(config.latency(without(normal, graph, ~kept, check=False)))

    measure = {"macs": remaining.macs, "parameters": remaining.parameters, "latency": latency}
    measured = measure[config.of]
    whole = measured(np.ones(graph.count, bool))
    if config.ranking == "per_cost":
        # The time of one unit cannot be told from the noise.
        counted = remaining.parameters if config.of == "parameters" else remaining.macs
        rated = rated / _costs(groups, counted, count=graph.count)
    try:
        removed = chosen(
            groups,
            rated,
            measured,
            budget=(1 - config.target_of_round) * whole,
            per_layer=config.ranking == "layer",
            round_to=config.round_to,
            least_kept=config.least_kept,
        )
    except UnreachableError as error:
        raise OutOfReach(
            f"prune_channels cannot take {config.target_of_round:.0%} of the {config.of}: {error}. "
            f"Lower target, round_to (now {config.round_to}) or least_kept (now "
            f"{config.least_kept:g})."
        ) from error
    return tuple(np.flatnonzero(removed).tolist())


def _costs(
    groups: Sequence[Group], counted: Callable[[np.ndarray], int], *, count: int
) -> np.ndarray:
    """What the model saves without a unit, float64 [units]; 1 for those of no group."""
    found, whole = np.ones(count), counted(np.ones(count, bool))
    for group in groups:
        kept = np.ones(count, bool)
        # All units of a group cost the same, being in the same places.
        kept[group.units[0]] = False
        found[group.units] = whole - counted(kept)
    return found


def callbacks(config: ChannelPruningConfig) -> Sequence[Any]:
    """None are needed: the channels are gone."""
    del config
    return []


def strip(model: Any) -> Any:
    """Returns the model itself: it has plain layers."""
    return model


def report(before: Any, after: Any, config: ChannelPruningConfig) -> CompressionReport:
    """Describes every layer with weights: made smaller, or left alone and why."""
    normal = _plain(before)
    graph = _followed(normal, config)
    reasons = _reasons(normal, graph)
    details = {
        name: _detail(graph, slots, after)
        for name, slots in graph.by_layer.items()
        if name not in reasons
    }
    reports = layer_reports(normal, after, reasons=reasons, without_kernel="", details=details)
    return CompressionReport("prune_channels", reports)


def _detail(graph: ChannelGraph, slots: Sequence[Slot], after: Any) -> str:
    """How much a layer still gives, or takes where it gives as much as before."""
    layer = after.get_layer(slots[0].layer)
    # What it gives says more than what it takes.
    for slot in sorted(slots, key=lambda slot: slot.role == CONSUMES):
        had, has = len(slot.units), int(layer.weights[slot.weight].shape[slot.axis])
        if has < had:
            units = set(slot.units.tolist())
            # Each head is as wide as the others.
            width = had // len(units) if units <= graph.heads else 1
            what = "heads" if units <= graph.heads else "channels"
            takes = "takes " if slot.role == CONSUMES else ""
            return f"{takes}{has // width} of {had // width} {what}"
    return "all channels kept"


def verify(model: Any, config: ChannelPruningConfig, *, before: Any = None) -> None:
    """Counts what the model lost against the one before; a latency is not measured again.

    Raises:
      VerificationError: it lost less than the target of a round.
      ValueError: `before` is missing.
    """
    if before is None:
        raise ValueError(
            "prune_channels.verify needs the model that wrap was given: verify(model, config, "
            "before=model_before)."
        )
    of = "macs" if config.of == "latency" else config.of
    count = getattr(cost, of)
    had, has = count(normalize(before, check=False)), count(model)
    target = 0.0 if config.of == "latency" else config.target_of_round
    if has > (1 - target) * had or has == had:
        raise VerificationError(
            f"prune_channels: the model has {has:,} {of} of {had:,} before, expected at most "
            f"{int((1 - target) * had):,}. Train and strip what wrap returns."
        )


def verify_artifact(
    artifact: Artifact, report: CompressionReport, config: ChannelPruningConfig
) -> None:
    """Looks for a kernel of the smaller size in the file, for each layer that was made smaller.

    Raises:
      VerificationError: there is none.
    """
    del config
    found = {weight.values.size for weight in artifact.weights().values()}
    for layer in report.layers:
        # The two kernels of a separable convolution are counted together.
        if not layer.treated or not layer.kernel_parameters or "Separable" in layer.kind:
            continue
        if layer.kernel_parameters not in found:
            raise VerificationError(
                f"prune_channels: the exported file has no kernel of {layer.kernel_parameters:,} "
                f"weights for the layer {layer.name}. Export what strip returned."
            )


def rated(model: Any, graph: ChannelGraph) -> np.ndarray:
    """How much each unit of channels matters by the norm of its weights.

    Args:
      model: flat functional model.
      graph: its channels.

    Returns:
      float64 [units]; NaN where no weight makes the unit.
    """
    from tfcompress.techniques._channel_importance import importance

    return importance(model, graph, ChannelPruningConfig.importance, examples=None)


def _followed(model: Any, config: ChannelPruningConfig) -> ChannelGraph:
    """The channels of a model; those that the criterion says nothing of stay, too."""
    from tfcompress.graph.channel_following import channel_graph
    from tfcompress.techniques._channel_importance import importance

    graph = channel_graph(model, keep=config.skip)
    if config.importance == "taylor":
        return graph  # Rates all of them.
    of = "batch normalization" if config.importance == "bn_scale" else "kernel"
    unrated = np.flatnonzero(np.isnan(importance(model, graph, config.importance, examples=None)))
    reasons = dict.fromkeys(unrated.tolist(), f"no {of} to be rated by")
    return dataclasses.replace(graph, reasons={**reasons, **graph.reasons})


def _require_supplied(config: ChannelPruningConfig) -> None:
    if config.importance == "taylor" and config.examples is None:
        raise ValueError(
            "prune_channels(importance=taylor) needs examples. Received: none. Pass "
            "ChannelPruningConfig(examples=(inputs, classes)), some hundred of each."
        )
    if config.of == "latency" and config.latency is None:
        raise ValueError(
            "prune_channels(of=latency) needs a function that times a model. Received: none. Pass "
            "ChannelPruningConfig(latency=function), model -> ms."
        )
