"""All settings of a search, checked before any work.

Knows what must not change while a search goes on. Does not know how it is carried out.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tfcompress import compose, data, recipe
from tfcompress.budgets import Budget
from tfcompress.config import RunConfig, plain
from tfcompress.goals import CLASSIFICATION
from tfcompress.registry import require
from tfcompress.search import space as spaces
from tfcompress.search.space import Space, SpaceError

T = TypeVar("T")

SAMPLERS = ("tpe", "nsga2", "random", "grid")
"""How recipes are chosen: by Optuna's TPE or NSGA-II, at random, or evenly over the space."""

ERROR, SIZE, GZIP_SIZE, LATENCY = "error", "size_bytes", "gzip_size_bytes", "latency_ms"
BEST = ("auto", "accuracy", "size", "latency")
# Combinations of a space that are checked; every technique and word of a larger one stands in many.
_MOST_CHECKED = 2000


@dataclass(frozen=True)
class SearchConfig:
    """One search for a recipe.

    Attributes:
      run: the data, the network, its training and that of stages, and how files are timed; with no
        recipe, since those are what is searched for. Its export formats are those of the recipes
        that name none.
      budget: upper limits.
      spaces: text forms of the recipes to choose from; none for what suits the model.
      sampler: one of `SAMPLERS`.
      trials: recipes to try, at least 1; those that end before any training do not count, see
        `study.Study`. More may be asked for later.
      stop_poor: end a trial early that cannot become the answer, or that is worse at its stage
        than half of the trials before it that cost no more.
      best: which of the files within the budget is the best: that of the highest `"accuracy"`, of
        the least `"size"` or `"latency"`; `"auto"`: of the least size where the accuracy is the
        only limit, else of the highest accuracy.
      draft_examples: of the validation split, by which untrained recipes are judged; at least 1.
      seed: of the sampler.

    Raises:
      ValueError: a value outside its range, an unknown name, a recipe in `run`, or a space that
        holds a recipe that cannot be carried out.
    """

    run: RunConfig = field(default_factory=RunConfig)
    budget: Budget = field(default_factory=Budget)
    spaces: tuple[str, ...] = ()
    sampler: str = "tpe"
    trials: int = 30
    stop_poor: bool = True
    best: str = "auto"
    draft_examples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.sampler, SAMPLERS, what="sampler")
        require(self.best, BEST, what="--best")
        for name in ("trials", "draft_examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1. Received: {getattr(self, name)}.")
        if self.run.training.strategy == "multi_worker":
            raise ValueError(
                "The workers of a search train a trial of their own each. Received: "
                "--strategy=multi_worker. Leave it out, and start the same command on each machine."
            )
        if self.run.recipes:
            raise ValueError(
                "A search finds the recipe itself. Received: --recipe="
                f"{', '.join(self.run.recipes)}. Pass --space to say which recipes to try; a "
                "space may be a recipe."
            )
        possible = data.tasks(self.run.data)
        self.budget.require_task(of_classes=possible == (CLASSIFICATION,))
        if self.spaces:
            texts = with_formats(self.spaces, self.run.export.formats)
            object.__setattr__(self, "spaces", texts)
            require_possible(self.space(), self.run)

    def space(self) -> Space:
        """The recipes to choose from, each ending in one format; as `spaces` has them.

        Raises:
          SpaceError: there is none, or one cannot be read.
        """
        return spaces.parse(self.spaces)

    @property
    def size_objective(self) -> str:
        """Which bytes are to be few: those that are limited; of both, the gzipped ones."""
        return SIZE if self.budget.max_gzip_size_bytes is None else GZIP_SIZE

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the front is made of, less of each being better."""
        return (ERROR, self.size_objective, LATENCY)

    @property
    def best_by(self) -> str:
        """The objective that decides among the files within the budget."""
        named = {"accuracy": ERROR, "size": self.size_objective, "latency": LATENCY}
        if self.best != "auto":
            return named[self.best]
        limits = [name for name, limit in vars(self.budget).items() if limit is not None]
        return self.size_objective if limits == ["max_drop"] else ERROR

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record of what must not change while the search goes on.

        The number of trials may grow, but for a grid, whose points follow from it.
        """
        record: dict[str, Any] = plain(dataclasses.asdict(self))
        if self.sampler != "grid":
            del record["trials"]
        return record

    @property
    def baseline_formats(self) -> tuple[str, ...]:
        """The formats of the baseline's own files: all that recipes may end in, float32 first."""
        plans = _plans(self.space()) if self.spaces else []
        named = itertools.chain.from_iterable(plan.formats for plan in plans)
        return tuple(dict.fromkeys(("float32", *self.run.export.formats, *named, "int8")))


def with_formats(texts: tuple[str, ...], formats: tuple[str, ...]) -> tuple[str, ...]:
    """The spaces with an open format at the end of each whose recipes make files of several.

    Args:
      texts: spaces.
      formats: to choose from where a recipe names none.

    Raises:
      SpaceError: a space whose recipes end in a format in part only, or in several.

    Example:
      >>> with_formats(("prune({0.5..0.9})", "qat"), ("float32", "int8"))
      ('prune({0.5..0.9})+{float32|int8}', 'qat')
    """
    return tuple(_with_format(text, formats) for text in texts)


def _with_format(text: str, formats: tuple[str, ...]) -> str:
    plans = _plans(spaces.parse([text])) if text.strip() not in ("", spaces.NONE) else []
    ends = {1 if compose.quantizes(plan.stages) else len(plan.formats) for plan in plans}
    if ends <= {1}:
        return text
    if ends != {0}:
        raise SpaceError(
            f"Space {text!r}: each trial makes one file, but some recipes of it name "
            f"{max(ends)} formats and others {min(ends)}. End every recipe in one format, in qat "
            f"or in ptq, or none of them: then --export={','.join(formats)} are tried."
        )
    return f"{text}+{formats[0] if len(formats) == 1 else '{' + '|'.join(formats) + '}'}"


def _plans(space: Space) -> list[compose.Plan]:
    texts = (text for _, text in space.points(1))
    return [
        _tried(space, text, lambda text: compose.plan(recipe.parse(text)))
        for text in itertools.islice(texts, _MOST_CHECKED)
    ]


def _tried(space: Space, text: str, make: Callable[[str], T]) -> T:
    try:
        return make(text)
    except ValueError as error:
        raise SpaceError(
            f"The space {', '.join(space.texts)} holds the recipe {text}, which cannot be "
            f"carried out: {error}"
        ) from error


def require_possible(space: Space, run: RunConfig) -> None:
    """Refuses a space with a recipe that cannot be carried out.

    Every combination of stages and words is tried, with the least and the greatest number of each
    range; of a very large space, many of them.

    Args:
      space: the recipes.
      run: the settings that they are tried with.

    Raises:
      SpaceError: the message names the recipe and the reason.
    """
    for _, text in itertools.islice(space.points(2), _MOST_CHECKED):
        _tried(space, text, lambda text: dataclasses.replace(run, recipes=(text,)))
