"""The report on one experiment that was repeated with other seeds.

Knows which file is chosen over seeds, and which examples compression forgets whatever the seed.
Does not know markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfcompress import statistics
from tfcompress.report import definitions, metric, seeds, tables, text
from tfcompress.report.contents import Contents, Section, title
from tfcompress.report.picture_grid import MOST, Captioned
from tfcompress.report.run import Run, RunFolderError, names_of
from tfcompress.report.seeds import OverSeeds
from tfcompress.report.tables import Cell, Column, Table
from tfcompress.report.verdict import Verdict
from tfcompress.statistics import IdentifiedExamples

FEW = 3
"""Fewer seeds than these give an interval of 12.7 standard errors to each side."""


def contents(runs: Sequence[Run]) -> Contents:
    """Gathers what a report on repetitions shows.

    Args:
      runs: at least two that differ in their seed alone.

    Raises:
      ValueError: as `seeds.require_seeds`.
      RunFolderError: the runs were judged on other test examples.
    """
    results = [run.results for run in runs]
    files = seeds.over_seeds(results)
    found = identified(runs)
    data = results[0].data
    shown = (_identified_table(found, data.examples),) if found else ()
    numbers = ", ".join(str(each.config["seed"]) for each in results)
    tested = data.split_sizes.get("test")
    judged = "" if tested is None else f", judged on {text.plural(tested, f'test {data.example}')}"
    settings = tables.settings(results[0].config, title="Configuration of the first run")
    return Contents(
        title=f"{title(results[0])}, {len(runs)} seeds",
        subtitle=f"seeds {numbers}{judged}; {', '.join(names_of(runs))}",
        verdict=_verdict(files, len(runs), metric.of(results[0])),
        files=seeds.across_seeds(results),
        figures=(),
        sections=(
            Section(
                "Who paid, whatever the seed",
                "One training disagrees with another by chance. Identified are the test "
                f"{data.examples} whose most frequent class among the compressed models is another "
                "than among the baselines; by majorities, where each is given by more than half of "
                "them.",
                ("identified-images",),
                shown,
            ),
        ),
        folded=() if settings is None else (settings,),
        definitions=definitions.of_repetitions(results[0]),
    )


def _verdict(files: Sequence[OverSeeds], runs: int, main: metric.MainMetric) -> Verdict:
    """The smallest file without a loss over the seeds and in each run; it has compressed stages."""
    measured = [each for each in files if each.difference and each.entries[0].stages]
    if not measured:
        return Verdict("No compressed file was compared with the baselines.", (), None, ())
    kept = [
        each
        for each in measured
        if each.shows_no_loss and (each.answer == statistics.BETTER or not each.losing)
    ]
    if kept:
        best = min(kept, key=_gzipped)
        headline = (
            f"Over {runs} seeds, {best.name} is the smallest file that shows no loss, neither in "
            "the mean nor in any run."
        )
    else:
        best = max(measured, key=lambda each: each.difference.mean if each.difference else 0.0)
        certain = all(each.answer == statistics.WORSE for each in measured)
        headline = (
            f"Every compressed file {main.verb}; {best.name} loses least in the mean."
            if certain
            else f"No compressed file is above suspicion of a loss; {best.name} loses least in the "
            "mean."
        )
    return Verdict(headline, (_sentence(best, runs, main), *_doubt(best, runs, main)), None, ())


def _doubt(file: OverSeeds, runs: int, main: metric.MainMetric) -> tuple[str, ...]:
    """What so few seeds leave open."""
    found, said = file.difference, []
    if found and found.interval and found.interval.low < 0 and file.answer != statistics.WORSE:
        most = main.with_unit(main.show(-found.interval.low))
        said.append(f"A loss of up to {most} in the mean is not excluded.")
    if runs < FEW:
        said.append(
            f"{runs} seeds show next to nothing about other trainings: take {FEW} at least."
        )
    return tuple(said)


def _gzipped(file: OverSeeds) -> float:
    sizes = [each.gzip_size_bytes for each in file.entries if each.gzip_size_bytes is not None]
    return float(np.mean(sizes)) if sizes else math.inf


def _sentence(file: OverSeeds, runs: int, main: metric.MainMetric) -> str:
    found = file.difference
    assert found is not None
    spread = "" if found.std is None else f" ± {main.signed(found.std).lstrip('+')}"
    shown = main.with_unit(main.signed(main.better * found.mean) + spread)
    ends = metric.as_gain(found.interval, main)
    interval = "" if ends is None else f" (95% interval of the mean {main.signed_interval(ends)})"
    answer = f"{file.suspected}? (not confirmed)" if file.suspected else file.answer
    return (
        f"{main.title} difference {shown}{interval}: {answer}. Its "
        f"own test, corrected for the runs, shows a loss in {file.losing} of {runs}."
    )


def identified(runs: Sequence[Run]) -> Mapping[str, IdentifiedExamples]:
    """Compression-identified examples of each file with stages; empty without stored predictions.

    Raises:
      RunFolderError: the runs were judged on other test examples.
    """
    base = runs[0].results.baseline.name
    if any(base not in run.answers for run in runs):
        return {}
    before = _stacked(runs, base)
    return {
        entry.name: statistics.identified_examples(
            _stacked(runs, entry.name), before, runs[0].answers[base].labels
        )
        for entry in runs[0].results.artifacts
        if entry.stages and all(entry.name in run.answers for run in runs)
    }


def _stacked(runs: Sequence[Run], name: str) -> np.ndarray:
    """The predicted classes of one file in every run, in the first run's order of examples."""
    first = runs[0].answers[runs[0].results.baseline.name]
    try:
        return np.stack([run.answers[name].ordered_like(first).predicted for run in runs])
    except ValueError as error:
        raise RunFolderError(f"{name}: {error}") from error


def _by_majority(found: IdentifiedExamples) -> np.ndarray:
    """Indices of the identified examples whose modal classes more than half of the models give."""
    sure = (2 * found.votes > found.seeds) & (2 * found.baseline_votes > found.baseline_seeds)
    chosen: np.ndarray = found.indices[sure[found.indices]]
    return chosen


def _identified_table(found: Mapping[str, IdentifiedExamples], examples: str) -> Table:
    columns = (
        Column("Name", numeric=False),
        Column("Identified", examples),
        Column("Accuracy on them", "%"),
        Column("Elsewhere", "%"),
    )
    rows = tuple(
        (
            Cell(name),
            Cell(text.count(each.indices.size), f"{_by_majority(each).size:,} by majorities"),
            Cell(text.percent(each.accuracy), f"baselines {text.percent(each.baseline_accuracy)}"),
            Cell(
                text.percent(each.accuracy_elsewhere),
                f"baselines {text.percent(each.baseline_accuracy_elsewhere)}",
            ),
        )
        for name, each in found.items()
    )
    note = (
        "Mean accuracies of the compressed models and, below, of the baselines. With few seeds "
        "chance decides much: Hooker et al. (2019) trained 30 of each."
    )
    return Table(f"Compression-identified {examples}", columns, rows, note)


def pictures(runs: Sequence[Run]) -> tuple[str, list[Captioned]]:
    """The file with the most identified examples, and those by majorities that have a picture."""
    found = identified(runs)
    if not found:
        return "", []
    name = max(found, key=lambda each: found[each].indices.size)
    kept = {index: image for run in runs for index, image in run.pictures.items()}
    first = runs[0].answers[runs[0].results.baseline.name]
    names = runs[0].results.data.classes
    each = found[name]
    return name, [
        Captioned(
            kept[int(first.ids[i])],
            names[each.baseline_modal[i]],
            names[each.modal[i]],
            names[first.labels[i]],
        )
        for i in _by_majority(each)
        if int(first.ids[i]) in kept
    ][:MOST]
