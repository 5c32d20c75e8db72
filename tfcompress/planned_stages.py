"""One stage of a recipe: its technique with a checked config, read from a term of the text.

Knows one technique at a time. Which can follow one another is told by `compose`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tfcompress import export, registry
from tfcompress import settings as settings_types
from tfcompress.level_search import SearchConfig, next_level
from tfcompress.optimizers import OPTIMIZERS
from tfcompress.recipe import Recipe, RecipeError, Stage, Value, text_of
from tfcompress.techniques import level_of

SUPPLIED = "supplied"
"""In the metadata of a config's field: its value comes from the run, not from the recipe.

Such as distillation's teacher. The field cannot be named in a recipe and stands in no record."""

OF_MODEL = "of_model"
"""Beside `SUPPLIED`: the value depends on the model that a stage starts from, and on its config.

It is found out once, by `prepared`, and kept: what it was found from is changed by the stage. The
metadata hold what stands for it where the model is not trained yet."""


TRAINING = ("epochs", "learning_rate", "optimizer", "weight_decay", "reestimate")
"""What the term of any technique that trains can say of its training."""
_SEARCH = tuple(field.name for field in dataclasses.fields(SearchConfig))


@dataclass(frozen=True)
class PlannedStage:
    """One stage with its technique's module and checked config.

    Attributes:
      technique: the technique's name.
      config: an instance of the technique's `CONFIG`.
      epochs: of this stage; None for the run's default.
      learning_rate: the highest one of this stage; None for the run's default.
      optimizer: of this stage, one of `optimizers.OPTIMIZERS`; None for the baseline's.
      weight_decay: of this stage, decoupled; None for the baseline's, which goes with its
        optimizer. A stage that names an optimizer and no decay has none.
      reestimate: take the statistics of batch normalization anew after the training.
      search: how far the technique is taken is searched for, and the config is that of the first
        level to try; None where the config says how far.
    """

    technique: str
    config: Any
    epochs: int | None = None
    learning_rate: float | None = None
    optimizer: str | None = None
    weight_decay: float | None = None
    reestimate: bool = False
    search: SearchConfig | None = None

    @property
    def training(self) -> dict[str, Any]:
        """What the stage itself says of how it is trained, by the names of `TRAINING`."""
        found = {name: getattr(self, name) for name in TRAINING}
        return {
            name: value
            for name, value in found.items()
            if value is not None and (name, value) != ("reestimate", False)
        }

    @property
    def module(self) -> ModuleType:
        """The technique."""
        return registry.load("techniques", self.technique)

    def at(self, level: float) -> PlannedStage:
        """The stage with its technique taken as far as a level, and nothing to search for."""
        config = level_of(self.technique).applied(self.config, level)
        return dataclasses.replace(self, config=config, search=None)


def apart_from_level(stage: PlannedStage) -> PlannedStage:
    """A stage with its level, if it has one, at the highest: equal where only the levels differ.

    Example:
      >>> from tfcompress import compose, recipe
      >>> stages = [compose.plan(recipe.parse(f"prune({level})")).stages[0] for level in (0.5, 0.6)]
      >>> apart_from_level(stages[0]) == apart_from_level(stages[1])
      True
    """
    try:
        return stage.at(level_of(stage.technique).highest)
    except ValueError:
        # It has no level, or says by other settings how far it goes.
        return stage


def is_trained(stage: PlannedStage) -> bool:
    """Whether a stage has a training, rather than an `adjust` that needs no labels."""
    return not hasattr(stage.module, "adjust")


def setting_names(technique: str) -> tuple[str, ...]:
    """What a recipe can say to a technique, in the order of arguments that are given unnamed.

    Args:
      technique: its name; of any other word there is nothing to say.

    Example:
      >>> setting_names("cluster")[:2], setting_names("int8")
      (('clusters', 'initialization'), ())
    """
    if technique not in registry.names("techniques"):
        return ()
    kind = registry.load("techniques", technique).CONFIG
    return tuple(f.name for f in dataclasses.fields(kind) if SUPPLIED not in f.metadata)


def read(recipe: Recipe, term: Stage) -> PlannedStage:
    """The stage that a term of a recipe stands for.

    Args:
      recipe: that it is from, for the messages.
      term: a technique's, no export format's.

    Raises:
      RecipeError: an unknown name or a wrong argument.
    """
    known = registry.names("techniques")
    if term.technique not in known:
        raise RecipeError(
            f"Recipe {recipe}: unknown technique {term.technique!r}. Known: {', '.join(known)}; "
            f"a recipe may end with an export format: {', '.join(export.FORMATS)}."
        )
    kind = registry.load("techniques", term.technique).CONFIG
    options = dict(term.options)
    training: dict[str, Any] = {name: options.pop(name, None) for name in TRAINING}
    search = _search(recipe, term.technique, options)
    types = {f.name: str(f.type) for f in dataclasses.fields(kind) if SUPPLIED not in f.metadata}
    fields = list(types)
    if len(term.positional) > len(fields):
        raise RecipeError(
            f"Recipe {recipe}: {term.technique} takes {len(fields)} arguments "
            f"({', '.join(fields)}). Received: {len(term.positional)}."
        )
    arguments = dict(zip(fields, term.positional, strict=False))
    for name, value in options.items():
        if name in arguments:
            raise RecipeError(f"Recipe {recipe}: {term.technique} received {name!r} twice.")
        if name not in fields:
            raise RecipeError(
                f"Recipe {recipe}: {term.technique} has no argument {name!r}. "
                f"Known: {', '.join([*fields, *training, *_SEARCH])}."
            )
        arguments[name] = value
    if search and (own := level_of(term.technique).setting) in arguments:
        raise RecipeError(
            f"Recipe {recipe}: {term.technique} takes {own}, or max_drop, by which it is searched "
            f"for. Received: {own} {text_of(arguments[own])}, max_drop {search.max_drop:g}. Leave "
            "one of them out."
        )
    _check_training(recipe, term.technique, training)
    given = [name for name, value in training.items() if value is not None]
    if given and hasattr(registry.load("techniques", term.technique), "adjust"):
        raise RecipeError(
            f"Recipe {recipe}: {term.technique} trains nothing. Leave out {', '.join(given)}."
        )
    for position, (name, value) in enumerate(arguments.items()):
        what = f"{term.technique} {name}"
        named = [other for other in fields if types[other] == "str"]
        first = position < len(term.positional) and isinstance(value, str) and named
        hint = f" Another setting needs its name, such as {named[0]}={value}." if first else ""
        arguments[name] = _typed(recipe, what, value, types[name], hint=hint)
    try:
        training["reestimate"] = bool(training["reestimate"])
        stage = PlannedStage(term.technique, kind(**arguments), **training)
        return _searching(stage, search) if search else stage
    except (ValueError, TypeError) as error:
        raise RecipeError(f"Recipe {recipe}: {error}") from error


def _search(recipe: Recipe, technique: str, options: dict[str, Value]) -> SearchConfig | None:
    """How the level of a technique is searched for, taken out of its options; None for not."""
    given: dict[str, Any] = {
        name: _typed(recipe, f"{technique} {name}", options.pop(name), "float")
        for name in _SEARCH
        if name in options
    }
    if not given:
        return None
    try:
        level_of(technique)
        if "max_drop" not in given:
            raise ValueError(f"{', '.join(given)} belong to max_drop, which is missing.")
        return SearchConfig(**given)
    except ValueError as error:
        raise RecipeError(f"Recipe {recipe}: {technique}: {error}") from error


def _searching(stage: PlannedStage, search: SearchConfig) -> PlannedStage:
    """A stage that searches for its level, at the first level to try."""
    first = next_level([], search, highest=level_of(stage.technique).highest)
    assert first is not None, "a first step is above 0"
    return dataclasses.replace(stage.at(first), search=search)


def _typed(recipe: Recipe, what: str, value: Value, annotation: str, *, hint: str = "") -> Any:
    """The value in the type of its field; a name that reads like a number becomes text again."""
    if annotation.removesuffix(" | None") == "str":
        return text_of(value)
    wanted = settings_types.expected(value, annotation)
    if wanted:
        raise RecipeError(
            f"Recipe {recipe}: {what} must be {wanted}. Received: {text_of(value)}.{hint}"
        )
    return value


_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "epochs": (lambda count: count >= 1, "at least 1"),
    "learning_rate": (lambda rate: 0 < rate < math.inf, "above 0 and finite"),
    "weight_decay": (lambda decay: 0 <= decay < math.inf, "at least 0 and finite"),
}


def _check_training(recipe: Recipe, technique: str, training: dict[str, Any]) -> None:
    types = {field.name: str(field.type) for field in dataclasses.fields(PlannedStage)}
    for name, value in training.items():
        if value is not None:
            training[name] = _typed(recipe, f"{technique} {name}", value, types[name])
    for name, (holds, expected) in _RANGES.items():
        value = training[name]
        if value is not None and not holds(value):
            raise RecipeError(
                f"Recipe {recipe}: {technique} {name} must be {expected}. Received: {value}."
            )
    optimizer = training["optimizer"]
    if optimizer is None:
        return
    try:
        registry.require(optimizer, OPTIMIZERS, what="optimizer")
    except ValueError as error:
        raise RecipeError(f"Recipe {recipe}: {technique}: {error}") from error
    if training["learning_rate"] is None:
        raise RecipeError(
            f"Recipe {recipe}: {technique} names the optimizer {optimizer} and no rate. A stage "
            "with an optimizer of its own takes its own rate: add learning_rate, such as "
            "learning_rate=0.1 for sgd or 0.001 for adam."
        )
    if training["weight_decay"] is None:
        # Decoupled, it is multiplied by the rate: the baseline's would be another one here.
        training["weight_decay"] = 0.0


def rounds(recipe: Recipe, stage: PlannedStage) -> list[PlannedStage]:
    """The stage itself, or one for each round of a technique that works in several.

    Raises:
      RecipeError: the stage has several, and its level is searched for.
    """
    configs = getattr(stage.module, "rounds", lambda config: [config])(stage.config)
    if stage.search and len(configs) > 1:
        raise RecipeError(
            f"Recipe {recipe}: {stage.technique} raises its level in steps of its own where "
            f"max_drop is given. Received: {len(configs)} rounds. Leave one of them out."
        )
    return [dataclasses.replace(stage, config=config) for config in configs]


def supplied_config(stage: PlannedStage, supplied: Mapping[str, Any]) -> Any:
    """A stage's config with the values that a run gives it; others are nobody's and ignored.

    Args:
      stage: with a technique's config.
      supplied: values by the names of the fields that `SUPPLIED` marks.
    """
    wanted = {
        field.name: supplied[field.name]
        for field in dataclasses.fields(stage.config)
        if SUPPLIED in field.metadata and OF_MODEL not in field.metadata and field.name in supplied
    }
    return dataclasses.replace(stage.config, **wanted)


def prepared(stage: PlannedStage, model: Any, *, supplied: Mapping[str, Any]) -> PlannedStage:
    """A stage with what a run finds out from the model that the stage starts from.

    Args:
      stage: with a technique's config.
      model: what the stages before it left.
      supplied: functions from a model and a stage to a value, by the names of the fields that
        `OF_MODEL` marks.
    """
    found = {
        field.name: supplied[field.name](model, stage)
        for field in dataclasses.fields(stage.config)
        if OF_MODEL in field.metadata and field.name in supplied
    }
    return dataclasses.replace(stage, config=dataclasses.replace(stage.config, **found))


def settings(config: Any) -> dict[str, Any]:
    """What a recipe can say about a stage: the fields of its config that no run supplies."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if SUPPLIED not in field.metadata
    }


def unprepared(stage: PlannedStage) -> PlannedStage:
    """A stage with what stands for the values that a trained model would give."""
    fields = dataclasses.fields(stage.config)
    stand_ins = {f.name: f.metadata[OF_MODEL] for f in fields if OF_MODEL in f.metadata}
    return dataclasses.replace(stage, config=dataclasses.replace(stage.config, **stand_ins))
