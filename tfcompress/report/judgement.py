"""Whether a file is better or worse than the baseline, or whether nothing was shown.

Knows the tests of a run as a family and the words for what they say. Does not know which file is
chosen, nor tables or figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tfcompress import statistics
from tfcompress.report import metric, text
from tfcompress.report.comparison import reference
from tfcompress.results import ArtifactResult, Results
from tfcompress.statistics import BETTER, LEVEL, NOT_SHOWN, WORSE, Decision


@dataclass(frozen=True, kw_only=True)
class Judgement(Decision):
    """What may be said of one file's main figure beside the baseline's.

    Attributes:
      p_value: of the test, corrected by Holm's procedure for all files compared.
      compared: files that were compared with the baseline.
      detectable: the smallest true difference of accuracies that the test, corrected for the
        number of files, finds in four cases of five, a fraction; None where it is not known.
    """

    p_value: float | None
    compared: int
    detectable: float | None


def judge(results: Results) -> Mapping[str, Judgement]:
    """Judges every file whose difference to the baseline was measured, by its name.

    The baseline's float32 file, which is the baseline but for the last bits of its outputs, is no
    comparison: it has no answer and does not count as one.
    """
    compared = [
        entry
        for entry in results.artifacts
        if metric.figure(entry).difference_interval is not None and entry is not reference(results)
    ]
    adjusted = dict(
        zip(
            (entry.name for entry in compared),
            statistics.holm([metric.figure(entry).p_value for entry in compared]),
            strict=True,
        )
    )
    tested = results.data.split_sizes.get("test")
    return {
        entry.name: _judged(
            entry,
            adjusted=known(adjusted.get(entry.name, metric.figure(entry).p_value)),
            compared=len(compared),
            tested=tested,
        )
        for entry in compared
    }


def known(p_value: float | None) -> float | None:
    """A p value as it is; None where there is none, for which `statistics.holm` has NaN."""
    return None if p_value is None or math.isnan(p_value) else float(p_value)


def _judged(
    entry: ArtifactResult, *, adjusted: float | None, compared: int, tested: int | None
) -> Judgement:
    figure = metric.figure(entry)
    found = statistics.decide(figure.gain_interval, figure.p_value, adjusted)
    return Judgement(
        **vars(found),
        p_value=adjusted,
        compared=compared,
        detectable=_detectable(entry, tested, compared=compared),
    )


def _detectable(entry: ArtifactResult, tested: int | None, *, compared: int) -> float | None:
    """By Bonferroni's correction, which Holm's never falls behind."""
    if entry.gained is None or entry.lost is None or not tested:
        return None
    return statistics.smallest_detectable_difference(
        tested, entry.gained + entry.lost, confidence=1 - LEVEL / max(compared, 1)
    ).difference


def sentence(entry: ArtifactResult, results: Results) -> str:
    """The difference of the main figure, its interval and what may be said from it."""
    main, figure = metric.of(results), metric.figure(entry)
    found, interval, gain = judge(results).get(entry.name), figure.gain_interval, figure.gain
    if found is None or gain is None or interval is None:
        return f"{main.noun} difference not measured"
    shown = (
        f"{main.noun} difference {main.with_unit(main.signed(figure.difference))} "
        f"({round(100 * interval.confidence)}% interval "
        f"{main.signed_interval(figure.difference_interval)})"
    )
    if found.answer == BETTER:
        return f"{shown}: better than the baseline"
    if found.answer == WORSE:
        return f"{shown}: worse by {main.with_unit(main.amount(-gain))}"
    answer = f"{shown}: {NOT_SHOWN} at this sample size{_sample_size(found, results)}"
    if found.suspected and (figure.p_value or 0) >= LEVEL:
        p_value = text.p_value(figure.p_value)
        return f"{answer}, since {main.tested_by} does not confirm it (p = {p_value})"
    if found.suspected:
        return (
            f"{answer}, since the test does not hold once corrected for "
            f"{text.plural(found.compared, 'comparison')} (p = {text.p_value(found.p_value)})"
        )
    most = main.with_unit(main.amount(-interval.low))
    return f"{answer}; a loss of up to {most} is not excluded"


def _sample_size(found: Judgement, results: Results) -> str:
    tested = results.data.split_sizes.get("test")
    if tested is None:
        return ""
    size = text.plural(tested, results.data.example)
    if found.detectable is None:
        return f" ({size})"
    return (
        f" ({size}, on which a true difference of {text.percent(found.detectable)} points "
        "is found in four cases of five)"
    )
