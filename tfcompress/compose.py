"""Which techniques can follow one another, and what a later one must preserve of the earlier ones.

The only place that knows two techniques at once. Turns a recipe into a plan of checked configs
before any work begins.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress import export
from tfcompress.goals import CLASSIFICATION
from tfcompress.planned_stages import (
    PlannedStage,
    is_trained,
    prepared,
    read,
    rounds,
    supplied_config,
    unprepared,
)
from tfcompress.recipe import Recipe, RecipeError
from tfcompress.techniques import NothingToGain, OutOfReach
from tfcompress.tokenizer import Tokenizer

ORDER = (
    "distill",
    "trim_vocabulary",
    "prune_channels",
    "factorize",
    "prune",
    "cluster",
    "ptq",
    "qat",
)
"""Techniques in the only order in which each keeps what the ones before it made.

A smaller architecture is what all others start from; zeros survive clustering, zeros and clusters
survive quantization, and all train under the loss of a distillation that stands first."""

QUANTIZING = ("ptq", "qat")
"""Techniques that leave a model which is exported as int8 and in no other format."""

RESHAPING = ("trim_vocabulary", "prune_channels", "factorize")
"""Techniques whose effect is the architecture itself, which no later one undoes."""

SPLITTING = ("factorize",)
"""Techniques that put two layers in a layer's place: what an earlier one made of it is gone.

So the layer of a `RESHAPING` one is looked for in a file by the technique that split it."""


@dataclass(frozen=True)
class Plan:
    """A recipe made ready.

    Attributes:
      stages: in order.
      formats: export formats that the recipe ends with; empty where it names none.
    """

    stages: tuple[PlannedStage, ...]
    formats: tuple[str, ...] = ()


def plan(recipe: Recipe) -> Plan:
    """Checks a recipe against the known techniques, their settings and their order.

    Raises:
      RecipeError: an unknown name, a wrong argument, a stage twice or out of order.
    """
    terms = list(recipe.stages)
    formats: list[str] = []
    while terms and terms[-1].technique in export.FORMATS:
        term = terms.pop()
        if term.positional or term.options:
            raise RecipeError(
                f"Recipe {recipe}: export format {term.technique} takes no arguments."
            )
        formats.insert(0, term.technique)
    planned = [read(recipe, term) for term in terms]
    _check_order(recipe, [stage.technique for stage in planned])
    _check_clusters(recipe, planned)
    stages = tuple(part for stage in planned for part in rounds(recipe, stage))
    if formats and quantizes(stages) and set(formats) != {"int8"}:
        raise RecipeError(
            f"Recipe {recipe}: after {stages[-1].technique} only int8 can follow, the format that "
            f"it is for. Received: {', '.join(formats)}."
        )
    return Plan(stages, tuple(formats))


def quantizes(stages: Sequence[PlannedStage]) -> bool:
    """Whether a recipe's model computes as its int8 file does."""
    return bool(stages) and stages[-1].technique in QUANTIZING


def _check_order(recipe: Recipe, techniques: Sequence[str]) -> None:
    ordered = [name for name in ORDER if name in techniques]
    # A technique that the table does not know yet may stand anywhere; it preserves nothing.
    known = [name for name in techniques if name in ORDER]
    if len(set(techniques)) != len(techniques):
        raise RecipeError(
            f"Recipe {recipe}: each technique may stand once. Received: {techniques}."
        )
    if known != ordered:
        raise RecipeError(
            f"Recipe {recipe}: out of order. A later stage would undo an earlier one; "
            f"write {'+'.join(ordered)} (the order is {', '.join(ORDER)})."
        )
    if set(QUANTIZING) <= set(techniques):
        raise RecipeError(f"Recipe {recipe}: {' and '.join(QUANTIZING)} both quantize. Take one.")


def _check_clusters(recipe: Recipe, stages: Sequence[PlannedStage]) -> None:
    """Scaled channels and weights that are rounded one by one are shared no longer."""
    quantizing = next((stage.config for stage in stages if stage.technique == "ptq"), None)
    clustered = any(stage.technique == "cluster" for stage in stages)
    if clustered and quantizing and (quantizing.equalize or quantizing.rounding == "adaptive"):
        raise RecipeError(
            f"Recipe {recipe}: ptq would undo the clusters. Write "
            "ptq(equalize=false, rounding=nearest), or use qat, which keeps them."
        )


def techniques(stages: Sequence[PlannedStage]) -> tuple[str, ...]:
    """The techniques of a recipe, one that works in several rounds once."""
    return tuple(dict.fromkeys(stage.technique for stage in stages))


def title(stages: Sequence[PlannedStage]) -> str:
    """The stages by name, such as `"prune_channels-2+qat"` after two rounds of the first."""
    techniques = itertools.groupby(stage.technique for stage in stages)
    counts = ((name, len(list(rounds))) for name, rounds in techniques)
    return "+".join(name if count == 1 else f"{name}-{count}" for name, count in counts)


def wrap(
    stages: Sequence[PlannedStage],
    model: Any,
    *,
    supplied: Mapping[str, Any],
    steps_per_epoch: int,
    epochs: int,
) -> Any:
    """Wraps a model for the last of `stages`; to be trained under an earlier distillation's loss.

    Args:
      stages: the stage to train and those before it.
      model: what the stages before it left.
      supplied: what the run gives to the configs that have a field for it: `teacher`, the baseline
        that distillation learns from, and `calibration`, float32 preprocessed images
        [n, height, width, channels].
      steps_per_epoch: batches in one epoch.
      epochs: of this stage.
    """
    current = stages[-1]
    config = supplied_config(current, supplied)
    model = current.module.wrap(model, config, steps_per_epoch=steps_per_epoch, epochs=epochs)
    for stage in stages[:-1]:
        if stage.technique == "distill" and is_trained(current):
            model = stage.module.under(model, supplied_config(stage, supplied))
    return model


def adjust(
    stage: PlannedStage,
    wrapped: Any,
    before: Any,
    *,
    supplied: Mapping[str, Any],
    progress: Any = None,
) -> None:
    """What a stage has in the place of a training.

    Args:
      stage: one for which `is_trained` is false.
      wrapped: what `wrap` gave; changed in place.
      before: what `wrap` was given.
      supplied: as for `wrap`.
      progress: told how far it is, and of how much.
    """
    config = supplied_config(stage, supplied)
    stage.module.adjust(wrapped, before, config, progress=progress)


def reestimate(stages: Sequence[PlannedStage], wrapped: Any, images: Any) -> int:
    """Takes the statistics of batch normalization anew, and what a technique derives from them.

    Args:
      stages: of a model that `wrap` has wrapped and that was trained.
      wrapped: that model; changed in place.
      images: what it takes, float32 [n, ...].

    Returns:
      How many layers were given new statistics.
    """
    from tfcompress.graph import batch_norm

    count = batch_norm.reestimate(wrapped, images)
    refit = getattr(stages[-1].module, "refit", None)
    if refit:
        refit(wrapped)
    return count


def require_treatable(
    stages: Sequence[PlannedStage], model: Any, *, supplied: Mapping[str, Any]
) -> None:
    """Wraps an untrained classifier once for every stage, so that a refusal comes before training.

    A stage that would gain nothing with these weights is let pass: the trained ones may differ; so
    is a search for a level whose first one the model does not allow.

    Args:
      stages: of one recipe.
      model: the classifier that they start from; of the architecture of a student, where there is
        one.
      supplied: as for `wrap`, with an untrained classifier of the baseline's architecture as the
        teacher.

    Raises:
      ValueError: a technique can treat no layer of it, or does not know one, or the student takes
        other images than the teacher.
    """
    stages = [unprepared(stage) for stage in stages]
    for count in range(1, len(stages) + 1):
        # A search whose first level goes too far tries a lower one.
        far = (OutOfReach,) if stages[count - 1].search else ()
        with contextlib.suppress(NothingToGain, *far):
            wrap(stages[:count], model, supplied=supplied, steps_per_epoch=1, epochs=1)


def require_task(stages: Sequence[PlannedStage], task: str) -> None:
    """Refuses a stage that is defined for another task than the data set's.

    A config whose property `only_classes` is a reason serves a classification alone.

    Args:
      stages: of one recipe.
      task: a key of `goals.GOALS`.

    Raises:
      ValueError: the message names the stage and the reason.
    """
    for stage in stages:
        reason = getattr(stage.config, "only_classes", "")
        if stage.search:
            reason = reason or "max_drop is a drop of accuracy"
        if reason and task != CLASSIFICATION:
            raise ValueError(
                f"{stage.technique} as it is set here is for a classification: {reason}. "
                f"Received: a {task}. Change that setting."
            )


def require_images(stages: Sequence[PlannedStage]) -> None:
    """Refuses a stage that images have no use for.

    A config whose property `only_texts` is a reason serves texts alone.

    Args:
      stages: of one recipe.

    Raises:
      ValueError: the message names the stage and the reason.
    """
    for stage in stages:
        if reason := getattr(stage.config, "only_texts", ""):
            raise ValueError(
                f"{stage.technique} is for texts: {reason}. Received: images. Leave the stage out."
            )


def tokenizer(stages: Sequence[PlannedStage], *, supplied: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of what stages leave; None where none of them changes the model's own.

    Args:
      stages: all that are carried out.
      supplied: as for `wrap`.
    """
    changing = _changing_tokens(stages)
    if changing is None:
        return None
    found: Tokenizer = changing.module.tokenizer(supplied_config(changing, supplied))
    return found


def teacher(stages: Sequence[PlannedStage], baseline: Any, *, supplied: Mapping[str, Any]) -> Any:
    """The baseline as it teaches the model of some stages: it reads what that reads.

    Args:
      stages: all that are carried out.
      baseline: reads the tokens of its own tokenizer; it stays as it is.
      supplied: as for `wrap`.
    """
    changing = _changing_tokens(stages)
    if changing is None or "distill" not in techniques(stages):
        return baseline
    config = supplied_config(changing, supplied)
    return changing.module.wrap(baseline, config, steps_per_epoch=1, epochs=1)


def _changing_tokens(stages: Sequence[PlannedStage]) -> PlannedStage | None:
    return next((stage for stage in stages if hasattr(stage.module, "tokenizer")), None)


def is_prepared(stage: PlannedStage) -> bool:
    """Whether a stage can be wrapped and trained without anything that a run finds out first."""
    return getattr(stage.config, "prepared", True) and not views([stage]) and not stage.search


def first_eligible_epoch(stages: Sequence[PlannedStage], *, epochs: int) -> int:
    """The 0-based epoch at whose end the effect of the last of `stages` is complete.

    Args:
      stages: those of the model in training; empty for the baseline.
      epochs: of the stage.
    """
    settles_at = stages[-1].config.settles_at if stages else 0.0
    return max(math.ceil(settles_at * epochs) - 1, 0)


def views(stages: Sequence[PlannedStage]) -> int:
    """After how many epochs the images repeat, their teacher's outputs known; 0 for never."""
    return next((stage.config.views for stage in stages if stage.technique == "distill"), 0)


def callbacks(stages: Sequence[PlannedStage]) -> list[Any]:
    """Fresh callbacks for training the last of `stages` and keeping what the others made."""
    current = stages[-1]
    found = list(current.module.callbacks(current.config))
    if current.technique not in ("prune", "cluster"):
        found += keeping(stages[:-1])
    return found


def keeping(stages: Sequence[PlannedStage]) -> list[Any]:
    """Fresh callbacks that keep what stages made during a training that is no stage of a recipe.

    Args:
      stages: all that were carried out; none of them trains here.

    Returns:
      None where nothing can be undone: a smaller architecture stays as it is.
    """
    made = {stage.technique: stage for stage in stages}
    if not made.keys() & {"prune", "cluster"}:
        return []
    from tfcompress.graph.structure import KeepStructure

    return [KeepStructure(zeros="prune" in made, groups=_clustered(made.get("cluster")))]


def acts_at_once(stage: PlannedStage) -> bool:
    """Whether `at_once` can carry out a stage: it neither learns from a teacher nor quantizes."""
    return stage.technique != "distill" and not quantizes([stage])


def at_once(
    stages: Sequence[PlannedStage], model: Any, *, supplied: Mapping[str, Any] | None = None
) -> Any:
    """Carries out stages with no training, each on what the one before it left.

    Args:
      stages: for which `acts_at_once`: `prune`, `cluster`, `prune_channels`, `factorize`.
      model: flat functional model; it stays as it is.
      supplied: as for `wrap` and `prepared`, for stages that need images or measurements.

    Raises:
      ValueError: a technique can treat no layer, or needs something that is not supplied.
      VerificationError: an effect is absent.
    """
    supplied, done = supplied or {}, []
    for each in stages:
        before = model
        stage = prepared(each, before, supplied=supplied)
        done.append(stage)
        model = wrap(done, before, supplied=supplied, steps_per_epoch=1, epochs=1)
        act = getattr(stage.module, "at_once", None)
        if act:
            act(model, stage.config)
        model = stage.module.strip(model)
        verify(done, model, before=before)
    return model


def _clustered(stage: PlannedStage | None) -> Any:
    if stage is None:
        return None
    return lambda kernel: not stage.module.skip_reason(kernel, stage.config)


def strip(stages: Sequence[PlannedStage], model: Any) -> Any:
    """Removes the wrappers of the last of `stages` and of a distillation around it."""
    for stage in stages:
        if stage.technique == "distill":
            model = stage.module.strip(model)
    return stages[-1].module.strip(model)


def verify(stages: Sequence[PlannedStage], model: Any, *, before: Any) -> None:
    """Counts the effect of every stage in the model that the last one left.

    Args:
      stages: all that were carried out.
      model: what the last one left, stripped.
      before: what the last one started from.
    """
    verify_kept(stages[:-1], model)
    stages[-1].module.verify(model, stages[-1].config, before=before)


def verify_kept(stages: Sequence[PlannedStage], model: Any) -> None:
    """Counts what stages made in a model that was trained on since.

    Args:
      stages: all that were carried out. A smaller architecture is not counted again.
      model: with every layer trainable: what is frozen counts as not treated.

    Raises:
      VerificationError: an effect is gone.
    """
    for stage in stages:
        if stage.technique not in RESHAPING:
            stage.module.verify(model, stage.config)
