"""The answer of a run: which file to take, and what it costs.

Knows how the file is chosen and what makes the comparison say less than it seems to. Does not know
tables or figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tfcompress import statistics
from tfcompress.report import judgement, metric, text
from tfcompress.report.comparison import (
    common_setting,
    latency_in,
    ratio,
    reference,
    speedup,
    times_faster,
)
from tfcompress.results import ArtifactResult, Results
from tfcompress.statistics import Decision

# Techniques after which no weight was trained on.
_UNTRAINED = {"ptq"}


@dataclass(frozen=True)
class Card:
    """One of the large figures on top of the report."""

    value: str
    label: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """The answer of a run.

    Attributes:
      headline: names the file that answers the run's question.
      remarks: what it costs, then further sentences, such as on a smaller file that loses accuracy.
      chosen: the file that the headline is about; None where there is none.
      cards: its figures.
      command: makes the file anew, to be copied into a shell; empty for none.
    """

    headline: str
    remarks: tuple[str, ...]
    chosen: ArtifactResult | None
    cards: tuple[Card, ...]
    command: str = ""


@dataclass(frozen=True)
class Candidate:
    """A file that may be chosen.

    Attributes:
      entry: the file.
      decision: what may be said of its difference to the baseline.
      gain: difference of the main figure, more for better.
    """

    entry: ArtifactResult
    decision: Decision
    gain: float


@dataclass(frozen=True)
class Choice:
    """The file that answers the question.

    Attributes:
      chosen: the smallest without a loss, or the one that loses least.
      kept: whether it is the former.
      certain: whether every candidate is shown to lose.
      by_gzip: whether size is that of the gzipped file, or of the stored one.
    """

    chosen: Candidate
    kept: bool
    certain: bool
    by_gzip: bool

    def headline(self, name: str, against: str, main: metric.MainMetric) -> str:
        """What a report says first."""
        if self.kept:
            size = "smallest file, gzipped," if self.by_gzip else "smallest file"
            return f"{name} is the {size} that shows no loss against {against}."
        if self.certain:
            return f"Every compressed file {main.verb}; {name} loses least."
        return f"No compressed file is above suspicion of a loss; {name} loses least."


def choose(candidates: Sequence[Candidate], *, by_gzip: bool) -> Choice:
    """The smallest file that shows no loss; where every one does, the one that loses least.

    Args:
      candidates: at least one.
      by_gzip: whether size is that of the gzipped file, or of the stored one.
    """
    kept = [each for each in candidates if each.decision.shows_no_loss]
    if kept:
        best = min(kept, key=lambda each: _size(each.entry, by_gzip=by_gzip))
        return Choice(best, True, False, by_gzip)
    certain = all(each.decision.answer == statistics.WORSE for each in candidates)
    return Choice(max(candidates, key=lambda each: each.gain), False, certain, by_gzip)


def reach(results: Results) -> Verdict:
    """Finds the smallest file that shows no loss against the baseline and says what it costs.

    Candidates are all files but the baseline's float32 one. The smallest is judged by gzipped bytes
    where all candidates have them (pruning and clustering show nowhere else), by stored bytes
    otherwise. Where every one shows a loss, the file that loses least is named instead.
    """
    found = _of_files(results)
    missing = (f"{each.recipe} left no file: {each.reason}" for each in results.given_up)
    return dataclasses.replace(found, remarks=(*found.remarks, *missing))


def _of_files(results: Results) -> Verdict:
    base = reference(results)
    candidates = [a for a in results.artifacts if a is not base]
    if not candidates:
        return Verdict(
            "This run holds no compressed file to compare with the baseline.", (), None, ()
        )
    judged = judgement.judge(results)
    measured = [a for a in candidates if a.name in judged]
    if not measured:
        noun = metric.of(results).noun
        headline = f"No file's {noun} was compared with the baseline: no verdict on {noun}."
        return Verdict(headline, (), None, ())
    by_gzip = all(a.gzip_size_bytes is not None for a in candidates)
    choice = choose(
        [Candidate(a, judged[a.name], metric.figure(a).gain or 0.0) for a in measured],
        by_gzip=by_gzip,
    )
    chosen = choice.chosen.entry
    headline = choice.headline(chosen.name, "the baseline", metric.of(results))
    costs = ", ".join(_costs(chosen, results))
    remarks = (
        f"{costs[0].upper()}{costs[1:]}.",
        *_smaller_but_worse(chosen, measured, metric.of(results), by_gzip=by_gzip),
        *_beside_plain(chosen, results),
        *_cautions(results),
    )
    return Verdict(headline, remarks, chosen, _cards(chosen, results))


def baseline_cautions(results: Results) -> list[str]:
    """Whether the baseline has learned so little that no difference to it says anything."""
    found = []
    classes, interval = len(results.data.classes), results.baseline.accuracy_interval
    if interval is not None and interval.low <= 1 / classes:
        found.append(
            f"Caution: the baseline is not shown to be better than chance among {classes} classes, "
            "so that the differences say little."
        )
    explained = [each for each in results.baseline.metrics if each.name == "r_squared"]
    if any(each.interval is not None and each.interval.low <= 0 for each in explained):
        found.append(
            "Caution: the baseline is not shown to be better than always saying the mean, so that "
            "the differences say little."
        )
    return found


def _cautions(results: Results) -> list[str]:
    """What makes the comparison say less than it seems to."""
    found = baseline_cautions(results)
    mode = results.config.get("transfer", {}).get("mode", "full")
    if mode != "full" and any(entry.stages for entry in results.artifacts):
        by = "is the model as it was given" if mode == "none" else f"was transferred by {mode}"
        found.append(
            f"Caution: the baseline {by}, while the stages of a recipe train every layer; part of "
            "a difference is that training's."
        )
    for entry in results.artifacts:
        if entry.minimal_steps and all(step.refused for step in entry.minimal_steps):
            found.append(
                f"Caution: {entry.name} has no minimal form and is as it was exported: "
                f"{entry.minimal_steps[0].refused}"
            )
    judged = judgement.judge(results)
    gained = [
        entry
        for entry in results.artifacts
        if set(entry.stages) - _UNTRAINED
        and entry.name in judged
        and judged[entry.name].answer == statistics.BETTER
    ]
    if mode == "full" and gained:
        found.append(
            f"Caution: {', '.join(entry.name for entry in gained)} went on training where the "
            "baseline's training ended; a gain is that training's, not the compression's."
        )
    return found


def _costs(entry: ArtifactResult, results: Results) -> list[str]:
    base = reference(results)
    sentences = []
    if base is not None:
        gzip = ratio(base.gzip_size_bytes, entry.gzip_size_bytes)
        stored = ratio(base.size_bytes, entry.size_bytes)
        if gzip and stored:
            sentences.append(
                f"{_times(gzip, 'smaller', 'larger')} than {base.name} gzipped "
                f"({_times(stored, 'smaller', 'larger')} as stored)"
            )
        elif stored:
            sentences.append(f"{_times(stored, 'smaller', 'larger')} than {base.name} as stored")
    faster = speedup(entry, results)
    if faster is not None:
        setting = common_setting(results)
        sentences.append(f"{_times(faster, 'faster', 'slower')} (median, {setting})")
    return [*sentences, judgement.sentence(entry, results)]


def _beside_plain(chosen: ArtifactResult, results: Results) -> tuple[str, ...]:
    """What the recipe gives beyond the baseline exported in the same format."""
    plain = next((a for a in results.artifacts if a.format == chosen.format and not a.stages), None)
    if plain is None or plain is chosen or not chosen.stages:
        return ()
    setting = common_setting(results)
    mine, theirs = latency_in(chosen, setting), latency_in(plain, setting)
    parts = (
        (ratio(plain.gzip_size_bytes, chosen.gzip_size_bytes), "smaller", "larger", " gzipped"),
        (ratio(plain.size_bytes, chosen.size_bytes), "smaller", "larger", " as stored"),
        (times_faster(mine, theirs), "faster", "slower", ""),
    )
    said = [_times(value, up, down) + how for value, up, down, how in parts if value]
    return (f"Beside {plain.name}, with no recipe, it is {', '.join(said)}.",) if said else ()


def _smaller_but_worse(
    chosen: ArtifactResult,
    measured: list[ArtifactResult],
    main: metric.MainMetric,
    *,
    by_gzip: bool,
) -> tuple[str, ...]:
    smallest = min(measured, key=lambda a: _size(a, by_gzip=by_gzip))
    if smallest is chosen or _size(smallest, by_gzip=by_gzip) >= _size(chosen, by_gzip=by_gzip):
        return ()
    size = smallest.gzip_size_bytes if by_gzip else smallest.size_bytes
    bytes_kind = "gzipped" if by_gzip else "as stored"
    return (
        f"The smallest file of all, {smallest.name} ({text.kib(size)} KiB {bytes_kind}), "
        f"differs by {main.with_unit(main.signed(metric.figure(smallest).difference))} "
        f"({main.signed_interval(metric.figure(smallest).difference_interval)}).",
    )


def _cards(entry: ArtifactResult, results: Results) -> tuple[Card, ...]:
    base, setting = reference(results), common_setting(results)
    cards = []
    if base is not None:
        cards += [
            _ratio_card(base.gzip_size_bytes, entry.gzip_size_bytes, text.kib, "KiB", "gzipped"),
            _ratio_card(base.size_bytes, entry.size_bytes, text.kib, "KiB", "stored"),
        ]
    mine, theirs = latency_in(entry, setting), base and latency_in(base, setting)
    if mine and theirs and times_faster(mine, theirs) is not None:
        cards.append(_ratio_card(theirs.p50, mine.p50, text.milliseconds, "ms", "median"))
    main, figure = metric.of(results), metric.figure(entry)
    if figure.difference is not None:
        interval = main.signed_interval(figure.difference_interval)
        label = f"{main.difference_unit} of {main.noun}".strip()
        label += "" if main.better > 0 else ", less is better"
        cards.append(Card(main.signed(figure.difference), label, interval))
    return tuple(card for card in cards if card is not None)


def _ratio_card(
    before: float | None, after: float | None, show: Callable[[float], str], unit: str, what: str
) -> Card | None:
    value = ratio(before, after)
    if value is None or before is None or after is None:
        return None
    words = ("faster", "slower") if unit == "ms" else ("smaller", "larger")
    word = words[0] if value >= 0.995 else words[1]
    shown = text.ratio(value if value >= 0.995 else 1 / value)
    return Card(shown, f"{word}, {what}", f"{show(before)} to {show(after)} {unit}")


def _times(value: float, above: str, below: str) -> str:
    if 0.995 <= value < 1.005:
        return f"neither {above} nor {below}"
    word, factor = (above, value) if value >= 1 else (below, 1 / value)
    digits = 2 if factor < 1.1 else 1 if factor < 10 else 0
    return f"{factor:.{digits}f} times {word}"


def _size(entry: ArtifactResult, *, by_gzip: bool) -> float:
    size = entry.gzip_size_bytes if by_gzip else entry.size_bytes
    return float("inf") if size is None else size
