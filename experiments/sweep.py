"""Finds the recipe for a budget of bytes, accuracy and time.

    python -m experiments.sweep --config=search_cifar10 \
      --max_size_bytes=60000 --max_drop=0.01 --max_latency_ms=0.5

Answers with the best file within the budget, the front of accuracy, size and latency, and what was
tried. The same command on the same `--output_dir` goes on with an interrupted search; started again
while it is at work, it works on it, too. docs/search.md tells more.
"""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from absl import app, flags

import experiments.flags
from experiments import program
from experiments.flags import define_run_flags, given, run_config_from_flags

_LIMITS = ("max_size_bytes", "max_gzip_size_bytes", "max_drop", "max_latency_ms")


def define_flags() -> None:
    """Defines this program's flags; those of a run are defined beside them."""
    flags.DEFINE_integer("max_size_bytes", None, "Bytes of the file, at most.")
    flags.DEFINE_integer("max_gzip_size_bytes", None, "Bytes of the file after gzip, at most.")
    flags.DEFINE_float(
        "max_drop",
        None,
        "Accuracy that may be lost, a fraction: 0.01 is one point. Of a regression, by how much "
        "the mean absolute error may rise.",
    )
    flags.DEFINE_float("max_latency_ms", None, "Median time of one call, at most.")
    flags.DEFINE_multi_string(
        "space",
        None,
        'Recipes to try, with open places: "{prune_channels({0.2..0.7})|none}+{qat|int8}". Given '
        "several times, from all of them. By default, what suits the model.",
    )
    flags.DEFINE_integer(
        "trials", 30, "Recipes to try, of all workers together, beside those stopped untrained."
    )
    flags.DEFINE_string("sampler", "tpe", "How they are chosen: tpe, nsga2, random or grid.")
    flags.DEFINE_integer("search_seed", 0, "Seed of the sampler's choices.")
    flags.DEFINE_bool("stop_poor", True, "End trials early of which nothing is to be expected.")
    flags.DEFINE_string(
        "best",
        "auto",
        "Which file within the budget is the best: that of the most accuracy, the least size or "
        "latency. auto: size where --max_drop is the only limit, else accuracy.",
    )
    flags.DEFINE_integer(
        "draft_examples", 1000, "Of validation, by which a recipe is judged before its training."
    )
    flags.DEFINE_string(
        "cache",
        None,
        "Folder in which searches leave what they trained to one another: with it, another budget "
        "or sampler trains no recipe again.",
    )
    flags.DEFINE_string(
        "storage",
        "",
        "URL of a database for the trials, such as postgresql+psycopg2://user@host/name. By "
        "default a file in --output_dir.",
    )


@program.entry(resumable=True)
def main() -> None:
    """Searches, and prints what was found and where the report lies."""
    from rich.console import Console

    from tfcompress.progress import Reporter
    from tfcompress.report import search_terminal
    from tfcompress.search import search

    values, config = flags.FLAGS, search_config()
    output_dir = Path(values.output_dir or default_folder(config))
    reporter = Reporter(Console(), every_layer=values.coverage)
    record = search(
        config,
        output_dir,
        url=values.storage,
        cache=values.cache or None,
        repeat=command,
        reporter=reporter,
    )
    search_terminal.print_summary(record, Console())
    print(f"\nReport: {output_dir / 'report.html'}\n        {output_dir / 'report.md'}")


def search_config() -> Any:
    """The search that the flags ask for.

    Raises:
      ValueError: a value that a config class refuses.
    """
    from tfcompress.search import Budget, SearchConfig

    values = flags.FLAGS
    # First, since it needs nothing else.
    budget = Budget(**{name: values[name].value for name in _LIMITS})
    run = run_config_from_flags()
    if values.recipe is None:
        # Those of a named config are one choice of many.
        run = dataclasses.replace(run, recipes=())
    return SearchConfig(
        run=run,
        budget=budget,
        spaces=tuple(values.space or ()),
        sampler=values.sampler,
        trials=values.trials,
        stop_poor=values.stop_poor,
        best=values.best,
        draft_examples=values.draft_examples,
        seed=values.search_seed,
    )


def command(recipe: str) -> str:
    """The command that trains one recipe of the search alone."""
    words = [*given(), f"--recipe={recipe}"]
    return shlex.join(["python", "-m", "experiments.compress", *words])


def default_folder(config: Any) -> str:
    """`runs/search-` and the data set, the backbone and the limits."""
    limits = [f"{n}-{limit:g}" for n, limit in vars(config.budget).items() if limit is not None]
    name = "-".join([config.run.data.name, config.run.backbone.name, *limits, config.sampler])
    clean = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    return f"runs/search-{clean}-seed{config.run.seed}"


if __name__ == "__main__":
    define_run_flags()
    define_flags()
    flags.adopt_module_key_flags(experiments.flags)
    app.run(main)
