"""What each technique can do to each layer of a model, found out without training.

Asks the techniques, which alone know. Does not know how a table is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfcompress import compose, planned_stages, registry
from tfcompress import recipe as recipes
from tfcompress.graph import cost, kernels
from tfcompress.layer_coverage import Coverage, LayerCoverage, TechniqueCoverage, total
from tfcompress.recipe import RecipeError


def coverage(
    model: Any, *, recipe: str | None = None, techniques: Sequence[str] | None = None
) -> Coverage:
    """Tells which layers of a model which technique treats, or passes over and why.

    Nothing is trained, wrapped or changed. Each technique is asked about the model as it is.

    Args:
      model: what `load_model` takes: a Keras 3 or tf_keras model, or the path of one.
      recipe: the techniques of a recipe, such as `"prune(0.8)+cluster(16)+qat"`.
      techniques: single techniques instead, such as `["prune(0.5)", "prune(pattern=2:4)"]`; with
        neither, every known technique with its defaults.

    Returns:
      a record that prints as a table, has the shares of the parameters and of the
      multiply-accumulates that each technique treats, and becomes JSON with `dataclasses.asdict`.

    Raises:
      RecipeError: a recipe and techniques at once, none, or one that cannot be carried out.
      ValueError: a model that cannot be loaded, or settings that do not fit it.
    """
    stages = planned(recipe=recipe, techniques=techniques)
    from tfcompress.graph import loading

    return measured(loading.load_model(model), stages)


def planned(
    *, recipe: str | None = None, techniques: Sequence[str] | None = None
) -> dict[str, planned_stages.PlannedStage]:
    """The techniques that a coverage asks for, by their text; checked before a model is loaded.

    Args:
      recipe: see `coverage`.
      techniques: see `coverage`.

    Raises:
      RecipeError: see `coverage`.
    """
    if recipe is not None and techniques is not None:
        raise RecipeError(
            f"coverage takes a recipe or techniques. Received both: {recipe!r} and "
            f"{list(techniques)}."
        )
    if recipe is not None:
        return _stages(recipe)
    texts = _known() if techniques is None else techniques
    stages: dict[str, planned_stages.PlannedStage] = {}
    for text in texts:
        stages |= _stages(text)
    if not stages:
        raise RecipeError(f"coverage needs a technique. Known: {', '.join(_known())}.")
    return stages


def _known() -> list[str]:
    names = registry.names("techniques")
    return sorted(names, key=lambda name: (*compose.ORDER, name).index(name))


def _stages(text: str) -> dict[str, planned_stages.PlannedStage]:
    parsed = recipes.parse(text)
    plan = compose.plan(parsed)
    if not plan.stages:
        raise RecipeError(
            f"Recipe {text!r} holds no technique that could treat a layer. "
            f"Known: {', '.join(_known())}."
        )
    # Of several rounds of a technique the first one speaks for all.
    first = {stage.technique: stage for stage in reversed(plan.stages)}
    return {str(term): first[term.technique] for term in parsed.stages if term.technique in first}


def measured(model: Any, stages: Mapping[str, planned_stages.PlannedStage]) -> Coverage:
    """The coverage of a model in the normal form.

    Args:
      model: flat functional model.
      stages: the techniques to ask, by the text that names their column.

    Raises:
      ValueError: settings that do not fit the model, such as a `skip` that names no layer.
    """
    for text, stage in stages.items():
        kernels.require_named(model, getattr(stage.config, "skip", ""), what=f"{text}: skip")
    skipped = {text: stage.module.skipped(model, stage.config) for text, stage in stages.items()}
    named = {name for reasons in skipped.values() for name in reasons}
    macs = cost.macs_by_kernel(model)
    listed = {
        name: kernels.plain_layer(layer)
        for name, layer in kernels.named_layers(model).items()
        if layer.weights or name in named
    }
    layers = tuple(
        LayerCoverage(
            name=name,
            kind=type(layer).__name__,
            parameters=sum(int(np.prod(weight.shape)) for weight in layer.weights),
            macs=total(count for (owner, _), count in macs.items() if owner == name),
            skipped={text: found[name] for text, found in skipped.items() if name in found},
            left_out={
                text: parts
                for text, found in skipped.items()
                if (parts := kernels.of_parts(name, found, layers=listed))
            },
        )
        for name, layer in listed.items()
    )
    left_out = {
        text: [
            kernel
            for kernel in kernels.kernels(model)
            if (key := f"{kernel.name}/{kernel.part}") in found and key not in listed
        ]
        for text, found in skipped.items()
    }
    totals = tuple(_total(text, layers, macs, left_out[text]) for text in stages)
    return Coverage(model.name, layers, totals)


def _total(
    text: str,
    layers: Sequence[LayerCoverage],
    macs: Mapping[tuple[str, str], int | None],
    left_out: Sequence[kernels.Kernel],
) -> TechniqueCoverage:
    """Adds up the treated layers, without the kernels that they keep as they are."""
    left = total(macs.get((kernel.name, kernel.part), 0) for kernel in left_out)
    treated = [layer for layer in layers if layer.parameters and text not in layer.skipped]
    covered = total(layer.macs for layer in treated)
    return TechniqueCoverage(
        technique=text,
        layers=len(treated),
        parameters=sum(layer.parameters for layer in treated)
        - sum(int(np.prod(kernel.variable.shape)) for kernel in left_out),
        macs=None if covered is None or left is None else covered - left,
    )
