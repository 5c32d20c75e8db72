"""Does a search find more than a grid or chance do, with as many trials?

    found = study(SearchStudy(run=..., budgets=(...), spaces=(...)), "runs/search_study")

Every sampler searches for every budget and seed; what one search trained, others take over, since
the recipes of a grid and of chance are the same under every budget. Resumable, search by search.
Knows which searches there are and what is kept of each. Does not know how one goes.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcompress import durable
from tfcompress.budgets import Budget, distance
from tfcompress.config import RunConfig, plain
from tfcompress.progress import Reporter
from tfcompress.registry import require
from tfcompress.run_folder import RunFolder
from tfcompress.search import SAMPLERS, SearchConfig, search
from tfcompress.search_record import SearchRecord

RESULT = "search_study.json"
_CHOOSING = ("tpe", "nsga2")
"""Samplers that learn from trials; only these end poor ones early."""


@dataclass(frozen=True)
class SearchStudy:
    """Which searches are compared.

    Attributes:
      run: the data, the network and its training, of the first seed.
      budgets: at least one; what is searched for.
      spaces: the same for all.
      samplers: names of `search.SAMPLERS`.
      seeds: of the run and of the sampler.
      trials: of each search, at least 1.

    Raises:
      ValueError: nothing to compare, an unknown sampler, something that is given twice, or what
        `SearchConfig` refuses.
    """

    run: RunConfig = field(default_factory=RunConfig)
    budgets: tuple[Budget, ...] = ()
    spaces: tuple[str, ...] = ()
    samplers: tuple[str, ...] = SAMPLERS
    seeds: tuple[int, ...] = (0, 1, 2)
    trials: int = 30

    def __post_init__(self) -> None:
        for sampler in self.samplers:
            require(sampler, SAMPLERS, what="sampler")
        for name in ("budgets", "samplers", "seeds"):
            given = getattr(self, name)
            twice = [each for n, each in enumerate(given) if each in given[:n]]
            if twice:
                raise ValueError(
                    f"A study of searches takes each of its {name} once. Received twice: "
                    f"{', '.join(map(str, twice))}. A search that counts twice says nothing more."
                )
        if not (self.budgets and self.spaces and self.samplers and self.seeds):
            raise ValueError(
                "A study of searches needs a budget, a space, a sampler and a seed. Received: "
                f"{len(self.budgets)}, {len(self.spaces)}, {len(self.samplers)}, "
                f"{len(self.seeds)}. Pass --budget and --space."
            )
        # Refused now, not after the first searches.
        for _ in self.searches():
            pass

    def searches(self) -> Iterator[tuple[str, SearchConfig]]:
        """Each search with the name of its folder."""
        for seed in self.seeds:
            run = dataclasses.replace(
                self.run,
                seed=seed,
                data=dataclasses.replace(self.run.data, seed=seed),
                training=dataclasses.replace(self.run.training, seed=seed),
            )
            for number, budget in enumerate(self.budgets):
                for sampler in self.samplers:
                    config = SearchConfig(
                        run=run,
                        budget=budget,
                        spaces=self.spaces,
                        sampler=sampler,
                        trials=self.trials,
                        stop_poor=sampler in _CHOOSING,
                        seed=seed,
                    )
                    yield f"seed-{seed}/budget-{number}/{sampler}", config


@dataclass(frozen=True)
class SearchOutcome:
    """What one search came to.

    Attributes:
      sampler: its name.
      seed: of the run and the sampler.
      budget: its number among the study's.
      trials: recipes that were tried.
      trained: those of them that did not end before any training.
      hypervolume: at the end, on validation, in [0, 1].
      reached: whether a file keeps the budget on validation.
      distance: of the answer to the budget on the test split, 0 within it; see
        `budgets.distance`.
      recipe: of the answer.
      figure: its accuracy on the test split; of values, its mean absolute error.
      difference: of `figure` to the uncompressed baseline's.
      size_bytes: of its file.
      gzip_size_bytes: of its file.
      latency_ms: of its file.
      seconds: of all its trials, those that were taken over counting next to nothing.
    """

    sampler: str
    seed: int
    budget: int
    trials: int
    trained: int
    hypervolume: float
    reached: bool
    distance: float
    recipe: str
    figure: float
    difference: float
    size_bytes: int
    gzip_size_bytes: int
    latency_ms: float | None
    seconds: float


def study(
    config: SearchStudy, output_dir: str | os.PathLike[str], *, reporter: Reporter | None = None
) -> tuple[SearchOutcome, ...]:
    """Carries out the searches that are missing.

    Args:
      config: which searches.
      output_dir: where they lie; new, empty, or of the same study.
      reporter: told of the progress.

    Raises:
      ValueError: what `search` refuses.
      RunFolderError: the folder belongs to something else.
    """
    folder, reporter = RunFolder(output_dir), reporter or Reporter()
    found = []
    with folder.open_for({"search_study": plain(dataclasses.asdict(config))}):
        for name, each in config.searches():
            reporter.stage("search", name)
            root = folder.root / name
            try:
                record = search(each, root, cache=folder.root / "cache", reporter=reporter)
            except ValueError:
                _give_up(root, of=folder.root)
                raise
            found.append(outcome(record, each, budget=config.budgets.index(each.budget)))
            durable.write_json(
                folder.root / RESULT,
                {"study": plain(dataclasses.asdict(config)), "outcomes": [vars(o) for o in found]},
            )
    return tuple(found)


def _give_up(root: Path, *, of: Path) -> None:
    """Removes the folder of a search that was refused, so that a corrected study may have it."""
    if root.is_dir() and all(path.name.startswith(".lock") for path in root.iterdir()):
        shutil.rmtree(root, ignore_errors=True)
        for parent in root.parents:
            if parent == of or any(parent.iterdir()):
                return
            parent.rmdir()


def outcome(record: SearchRecord, config: SearchConfig, *, budget: int) -> SearchOutcome:
    """What a study keeps of a search."""
    best = record.winner
    row: Any = best.row
    judged = row.metrics[0] if row.metrics else None
    return SearchOutcome(
        sampler=config.sampler,
        seed=config.seed,
        budget=budget,
        trials=len(record.trials),
        trained=sum(not each.is_untrained for each in record.trials),
        hypervolume=record.history[-1].hypervolume,
        reached=record.reached,
        distance=distance(best.overruns)[0],
        recipe=best.recipe,
        figure=judged.value if judged else row.accuracy,
        difference=judged.difference if judged else row.difference,
        size_bytes=row.size_bytes,
        gzip_size_bytes=row.gzip_size_bytes,
        latency_ms=row.latency_ms[0].p50 if row.latency_ms else None,
        seconds=record.seconds,
    )


def table_lines(outcomes: tuple[SearchOutcome, ...], config: SearchStudy) -> list[str]:
    """The outcomes as a table in Markdown: for each budget and sampler, means over the seeds.

    Args:
      outcomes: of `study`.
      config: which searches.
    """
    lines = []
    for number, budget in enumerate(config.budgets):
        limits = ", ".join(f"{name} {x:g}" for name, x in vars(budget).items() if x is not None)
        lines += [f"### {limits}", "", _HEAD, "|:---" + "|---:" * (_HEAD.count("|") - 2) + "|"]
        for sampler in config.samplers:
            own = [o for o in outcomes if (o.budget, o.sampler) == (number, sampler)]
            if own:
                lines.append(_row(sampler, own))
        lines.append("")
    return lines


_HEAD = (
    "| sampler | hypervolume, % | within budget | over it on test, % | test figure | difference "
    "| bytes | gzipped | tried | trained |"
)


def _row(sampler: str, own: list[SearchOutcome]) -> str:
    kept = sum(each.reached for each in own)
    cells = (
        _spread([100 * each.hypervolume for each in own], "{:.2f}"),
        f"{kept} of {len(own)}",
        _spread([100 * each.distance for each in own], "{:.0f}"),
        _spread([each.figure for each in own], "{:.4f}"),
        _spread([each.difference for each in own], "{:+.4f}"),
        _spread([float(each.size_bytes) for each in own], "{:,.0f}"),
        _spread([float(each.gzip_size_bytes) for each in own], "{:,.0f}"),
        _spread([float(each.trials) for each in own], "{:.0f}"),
        _spread([float(each.trained) for each in own], "{:.0f}"),
    )
    return f"| {sampler} | {' | '.join(cells)} |"


def _spread(values: list[float], form: str) -> str:
    """The mean, and the least and the greatest where they differ."""
    mean = form.format(sum(values) / len(values))
    if min(values) == max(values):
        return mean
    return f"{mean} ({form.format(min(values))} to {form.format(max(values))})"
