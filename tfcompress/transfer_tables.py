"""A transfer study as Markdown: a table for each question, and what the seeds show in a sentence.

Knows how a figure is written. Does not compute any. No TensorFlow here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tfcompress import transfer_comparisons as comparisons
from tfcompress.fraction_text import percent, points
from tfcompress.transfer import (
    DOWNSTREAM,
    FULL,
    LINEAR_PROBE,
    NONE,
    UPSTREAM,
    TransferStudy,
    Trial,
    TrialResult,
)
from tfcompress.transfer_comparisons import ALL, Comparison, Ranking

REGIME_TITLES = {LINEAR_PROBE: "linear probe", FULL: "full fine-tune"}


def table_lines(study: TransferStudy) -> list[str]:
    """All tables of what is done so far, one section for each question that was asked."""
    done = f"{len(study.results)} of {study.planned} trials"
    lines = [done if not study.complete else f"{done}: complete"]
    sections: Sequence[tuple[str, Callable[[TransferStudy], list[str]]]] = (
        ("a", order_lines),
        ("b", regime_lines),
        ("c", target_lines),
        ("d", frozen_lines),
    )
    for part, section in sections:
        if part in study.config["parts"]:
            lines += ["", *section(study)]
    return [*lines, "", *size_lines(study), "", *budget_lines(study)]


def order_lines(study: TransferStudy) -> list[str]:
    """Part a: before against after the transfer."""
    found = comparisons.of_order(study)
    head = ("backbone", "target", "compression", "before, %", "after, %")
    rows = [
        (*_names(one), one.compression, percent(one.accuracy), percent(one.reference))
        for one in found
    ]
    return [
        "### a. Compress, then transfer, against transfer, then compress",
        "",
        *_comparison_table(head, rows, found),
        "",
        _counted(found, first="before the transfer", other="after it"),
    ]


def regime_lines(study: TransferStudy) -> list[str]:
    """Part b: what a compressed backbone loses to the whole one, and who ranks where."""
    lines = ["### b. Linear probe and full fine-tune of what was compressed before"]
    for regime, title in REGIME_TITLES.items():
        found = comparisons.of_regime(study, regime)
        if found:
            rows = [
                (*_names(one), one.compression, percent(one.accuracy), percent(one.reference))
                for one in found
            ]
            head = ("backbone", "target", "compression", f"{title}, %", "not compressed, %")
            lines += ["", *_comparison_table(head, rows, found)]
            told = _counted(found, first="compressed", other="whole")
            lines += ["", f"{title.capitalize()}: {told[0].lower()}{told[1:]}"]
    return [*lines, "", *ranking_lines(study)]


def ranking_lines(study: TransferStudy) -> list[str]:
    """How the compressions rank in the two regimes, and which of them change places."""
    found = comparisons.rankings(study)
    if not found:
        return ["There is nothing to rank: both regimes of two compressions are needed."]
    rows = [
        (
            one.backbone,
            one.target,
            str(one.seeds),
            _ranked(one.probe),
            _ranked(one.full),
            f"{len(one.flips)} of {one.pairs}",
            str(sum(flip.in_every_seed for flip in one.flips)),
        )
        for one in found
    ]
    head = ("backbone", "target", "seeds", "by linear probe", "by full fine-tune")
    changes = ("change places", "of them with every seed")
    return [*_table((*head, *changes), rows), "", _flips_told(found)]


def _ranked(ranking: Iterable[tuple[str, float]]) -> str:
    return " > ".join(f"{name} {percent(accuracy)}" for name, accuracy in ranking)


def _flips_told(found: Sequence[Ranking]) -> str:
    pairs = sum(one.pairs for one in found)
    flips = [flip for one in found for flip in one.flips]
    steady = Counter((flip.probe, flip.full) for flip in flips if flip.in_every_seed)
    told = f"The regimes disagree on {len(flips)} of {pairs} comparisons of two compressions"
    if all(one.seeds == 1 for one in found):
        return f"{told}. With one seed that is no finding."
    if not steady:
        return f"{told}, none of them with every seed."
    named = "; ".join(
        f"{probe} over {full} by linear probe, {full} over {probe} by full fine-tune "
        f"({count} {'time' if count == 1 else 'times'})"
        for (probe, full), count in steady.items()
    )
    return f"{told}, {steady.total()} of them with every seed: {named}."


def target_lines(study: TransferStudy) -> list[str]:
    """Part c: what a compressed backbone costs on each target, one beside the other."""
    lines = ["### c. One compressed backbone, several targets"]
    for regime, title in REGIME_TITLES.items():
        found = [one for one in comparisons.of_regime(study, regime) if one.backbone != ALL]
        for backbone in dict.fromkeys(one.backbone for one in found):
            own = [one for one in found if one.backbone == backbone]
            targets = list(dict.fromkeys(one.target for one in own))
            if len(targets) > 1:
                lines += ["", *_target_table(own, targets, f"{backbone}, {title}, points")]
    if len(lines) == 1:
        lines += ["", "No backbone has two targets yet."]
    return lines


def _target_table(own: Sequence[Comparison], targets: Sequence[str], corner: str) -> list[str]:
    cells = {(one.compression, one.target): one for one in own}
    names = list(dict.fromkeys(one.compression for one in own))
    rows = []
    for name in names:
        ones = [cells.get((name, target)) for target in targets]
        costs = [one.difference for one in ones if one is not None]
        spread = points(max(costs) - min(costs)).lstrip("+") if len(costs) > 1 else ""
        shown = ["" if one is None else points(one.difference, one.interval) for one in ones]
        rows.append((name, *shown, spread))
    orders = {tuple(_by_cost(cells, names, target)) for target in targets}
    complete = all((name, target) in cells for name in names for target in targets)
    told = "The compressions rank alike on all targets."
    if len(orders) > 1:
        told = "The compressions rank differently: " + "; ".join(
            f"{target} {' > '.join(_by_cost(cells, names, target))}" for target in targets
        )
        told += "."
    table = _table((corner, *targets, "between targets"), rows)
    return [*table, "", told] if complete and len(names) > 1 else table


def _by_cost(
    cells: dict[tuple[str, str], Comparison], names: Sequence[str], target: str
) -> list[str]:
    known = [name for name in names if (name, target) in cells]
    return sorted(known, key=lambda name: -cells[name, target].difference)


def frozen_lines(study: TransferStudy) -> list[str]:
    """Part d: accuracy against the share of layers that the transfer leaves as they are."""
    found = comparisons.of_frozen(study)
    head = ("backbone", "target", "compression", "layers frozen, %", "frozen, %", "none frozen, %")
    rows = [
        (
            *_names(one),
            one.compression,
            f"{100 * one.frozen:g}",
            percent(one.accuracy),
            percent(one.reference),
        )
        for one in found
    ]
    return [
        "### d. Layers frozen",
        "",
        *_comparison_table(head, rows, found),
        "",
        _counted(found, first="frozen", other="all trained"),
    ]


def size_lines(study: TransferStudy) -> list[str]:
    """What the classifiers weigh, where a file was made of them."""
    head = ("backbone", "target", "compression", "order", "parameters", "million MACs")
    kernels = ("non-zero kernel weights, %", "most distinct values in a kernel")
    file = ("int8 file, bytes", "gzipped, bytes")
    filed = [result for result in study.results if result.sizes.int8_bytes is not None]
    rows = [_size_row(result) for result in filed]
    return ["### Sizes", "", *_table((*head, *kernels, *file), rows)]


def _size_row(result: TrialResult) -> tuple[str, ...]:
    trial, sizes = result.trial, result.sizes
    return (
        trial.backbone,
        trial.target,
        trial.compression,
        _order(trial),
        f"{sizes.parameters:,}",
        f"{sizes.macs / 1e6:.2f}",
        f"{100 * sizes.nonzero_weights / sizes.kernel_weights:.1f}",
        f"{sizes.distinct_weights:,}",
        f"{sizes.int8_bytes or 0:,}",
        f"{sizes.int8_gzip_bytes or 0:,}",
    )


def budget_lines(study: TransferStudy) -> list[str]:
    """What the trials of each kind saw and took, one row for each kind."""
    groups: dict[tuple[str, str], list[TrialResult]] = {}
    for result in study.results:
        groups.setdefault((_order(result.trial), result.trial.regime), []).append(result)
    rows = [
        (
            order,
            regime.replace("_", " "),
            str(len(results)),
            _range(result.head_images for result in results),
            _range(result.epochs for result in results),
            _range(result.images for result in results),
            _range(result.upstream_images for result in results),
            _range(round(result.seconds) for result in results),
        )
        for (order, regime), results in groups.items()
    ]
    head = ("compressed", "trained", "trials", "encoded images seen by the head", "epochs")
    return [
        "### Budget",
        "",
        *_table((*head, "images of the target seen", "images seen upstream", "seconds"), rows),
    ]


def _order(trial: Trial) -> str:
    return {NONE: "not", UPSTREAM: "before", DOWNSTREAM: "after"}[trial.order]


def _range(values: Iterable[int]) -> str:
    listed = sorted(set(values))
    return f"{listed[0]:,}" if len(listed) == 1 else f"{listed[0]:,} to {listed[-1]:,}"


def _names(one: Comparison) -> tuple[str, str]:
    return one.backbone, one.target


def _comparison_table(
    head: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    found: Sequence[Comparison],
) -> list[str]:
    """Rows that end in the difference, its p value and the verdict."""
    if not rows:
        return ["No comparison has both of its sides yet."]
    whole = [
        (*row, points(one.difference, one.interval), _p(one), str(one.seeds), one.verdict)
        for row, one in zip(rows, found, strict=True)
    ]
    tail = ("difference, points (95%)", f"p, of {len(found)} tests", "seeds", "what they show")
    return _table((*head, *tail), whole)


def _counted(found: Sequence[Comparison], *, first: str, other: str) -> str:
    """How many of a table's comparisons show what, in a sentence."""
    if not found:
        return "Nothing can be said yet."
    counts = Counter(one.verdict for one in found)
    better, worse = counts.pop("better", 0), counts.pop("worse", 0)
    told = [f"{first} is better than {other} in {better}, worse in {worse}"]
    told += [f"{verdict} in {count}" for verdict, count in counts.items()]
    return f"Of {len(found)} comparisons, {'; '.join(told)}."


def _p(one: Comparison) -> str:
    value = one.adjusted_p_value
    if value is None:
        return ""
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    listed = [tuple(row) for row in rows]
    columns = zip(*listed, strict=True) if listed else [()] * len(head)
    marks = ["--:" if all(map(_is_number, column)) else ":--" for column in columns]
    lines = [f"| {' | '.join(row)} |" for row in listed]
    return [f"| {' | '.join(head)} |", f"|{'|'.join(marks)}|", *lines]


def _is_number(cell: str) -> bool:
    return not cell or cell[0] in "+-0123456789"
