"""Compares searches for a recipe: TPE and NSGA-II beside a grid and chance, with as many trials.

    python -m experiments.search_study --config=search_mnist --trials=30 \
      --budget=max_size_bytes=60000,max_drop=0.005 --budget=max_size_bytes=30000,max_drop=0.01 \
      --space="{prune_channels({0.3..0.95})|none}+{qat|int8}" --output_dir=runs/search_study

For each budget and seed every sampler searches once; a table gives the hypervolume of what it found
and its answer. An interrupted study goes on with the same command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import app, flags

import experiments.flags
from experiments import list_flags, program
from experiments.flags import define_run_flags, run_config_from_flags


def define_flags() -> None:
    """Defines this program's flags; those of a run are defined beside them."""
    flags.DEFINE_multi_string(
        "budget", None, "Limits, such as max_size_bytes=60000,max_drop=0.005. Several times."
    )
    flags.DEFINE_multi_string("space", None, "Recipes to try, see experiments.sweep.")
    list_flags.define("sampler", ["tpe", "nsga2", "random", "grid"], "Which are compared.")
    list_flags.define("seeds", ["0", "1", "2"], "Of the run and of the sampler.")
    flags.DEFINE_integer("trials", 30, "Of each search.")


@program.entry(resumable=True)
def main() -> None:
    """Carries out the searches, prints the table and where it lies."""
    from rich.console import Console

    from tfcompress import durable
    from tfcompress.progress import Reporter
    from tfcompress.studies import search_comparison

    config = study_config()
    folder = Path(flags.FLAGS.output_dir or f"runs/search_study-{config.run.data.name}")
    found = search_comparison.study(config, folder, reporter=Reporter(Console()))
    text = "\n".join(search_comparison.table_lines(found, config))
    durable.write_text(folder / "search_study.md", text + "\n")
    print(f"\n{text}\nWritten: {folder / 'search_study.md'}")


def study_config() -> Any:
    """The study that the flags ask for.

    Raises:
      ValueError: a value that a config class refuses, or `--recipe` or `--seed`, in whose place
        a study has others.
    """
    import dataclasses

    from tfcompress.studies.search_comparison import SearchStudy

    values = flags.FLAGS
    for name, instead in (("recipe", "--space"), ("seed", "--seeds")):
        if values[name].present:
            raise ValueError(
                f"A study of searches takes {instead} and no --{name}. "
                f"Received: --{name}={values[name].value}."
            )
    budgets = tuple(budget(text) for text in values.budget or ())
    try:
        seeds = tuple(int(seed) for seed in values.seeds)
    except ValueError:
        raise ValueError(
            f"--seeds takes whole numbers, such as 0,1,2. Received: {values.seeds}."
        ) from None
    return SearchStudy(
        run=dataclasses.replace(run_config_from_flags(), recipes=()),
        budgets=budgets,
        spaces=tuple(values.space or ()),
        samplers=tuple(values.sampler),
        seeds=seeds,
        trials=values.trials,
    )


def budget(text: str) -> Any:
    """Limits from their text.

    Raises:
      ValueError: an unknown limit, or one that makes no sense.
    """
    import dataclasses

    from tfcompress import recipe, registry
    from tfcompress.budgets import Budget

    term = recipe.parse_term(f"budget({text})", what="Budget")
    limits: dict[str, Any] = dict(term.options)
    known = tuple(field.name for field in dataclasses.fields(Budget))
    for name in limits:
        registry.require(name, known, what="limit")
    if term.positional or not limits:
        raise ValueError(
            f"--budget takes limits by their names, such as {known[0]}=60000,{known[2]}=0.01. "
            f"Received: {text!r}."
        )
    return Budget(**limits)


if __name__ == "__main__":
    define_run_flags()
    define_flags()
    flags.adopt_module_key_flags(experiments.flags)
    app.run(main)
