"""The page docs/coverage.md, from the entries of the families.

Knows which figures stand in which table and what has to be said about them. Does not know how they
were measured. No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tfcompress.report import text
from tfcompress.report.table_text import escape, markdown_lines
from tfcompress.report.tables import Cell, Column, Table

if TYPE_CHECKING:
    from experiments.families import FamilyResult, FormResult, RecipeResult

RECIPES = (
    *("prune", "cluster", "qat", "PCQAT", "distill"),
    *("prune_channels", "factorize", "ptq"),
)
TFMOT = {"quantize": "quantize_model", "prune": "prune_low_magnitude", "cluster": "cluster_weights"}
YES = "yes"


def render(found: Sequence[FamilyResult]) -> str:
    """The page's text.

    Args:
      found: one entry for each family, in the table's order; at least one.
    """
    return "\n".join(_lines(found)) + "\n"


def in_a_line(family: FamilyResult) -> str:
    """What one family came to, for the terminal."""
    good = sum(not result.error for result in family.recipes)
    loaded = sum(not form.error for form in family.forms)
    return (
        f"{loaded} of {len(family.forms)} forms loaded, {good} of {len(family.recipes)} recipes "
        f"carried out, {text.duration(family.processor_seconds)} of a core"
    )


class _Reasons:
    """Deals out letters for reasons, as they appear."""

    def __init__(self) -> None:
        self.marks: dict[str, str] = {}

    def cell(self, reason: str) -> str:
        """`yes`, or the letter of the reason."""
        return f"no: {self.mark(reason)}" if reason else YES

    def mark(self, reason: str) -> str:
        """The letter of a reason."""
        return self.marks.setdefault(reason, _letter(len(self.marks)))


def _letter(index: int) -> str:
    rest, last = divmod(index, 26)
    return (_letter(rest - 1) if rest else "") + chr(ord("a") + last)


def _lines(found: Sequence[FamilyResult]) -> Iterator[str]:
    first, reasons = found[0], _Reasons()
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    compared = next(
        (result.examples for family in found for result in family.recipes if result.examples), 0
    )
    whole = sum(_whole(family) for family in found)
    yield from (
        "# Every technique on every family of Keras' networks",
        "",
        "<!-- Written by experiments/coverage_table.py. Do not edit. -->",
        "",
        "    python -m experiments.coverage_table",
        "",
        f"{versions}.",
        "",
        f"The smallest member of each family of `tf_keras.applications`, {first.image_size}x"
        f"{first.image_size} pixels, 10 classes. **{whole} of {len(found)} are carried out in "
        "every column**: loaded in each form, trained for a step in each stage, stripped, the "
        "effect counted in the model and in the file, exported as full-integer int8, compared.",
        "",
        "Each network is given flat (as Keras builds it), nested (a model in a model, as transfer "
        "learning writes it) and as a Keras 3 file, all three with the same weights"
        f"{_converted(found)}. The weights are random: this page says what can be carried out and "
        "whether file and model compute the same, not how accurate a trained network stays. So "
        "that the activations are those of a working network, the statistics of batch "
        "normalization are those of images, its beta is 1 (with half of the units off, a random "
        "network amplifies every rounding from layer to layer, as no trained one does), ConvNeXt's "
        "layer scale is 0.1, and the head is scaled so that the classes differ from image to "
        "image. Images are CIFAR-10's.",
        "",
        *_section(_carried_out(found, reasons)),
        *_section(_left_alone(found, reasons)),
        *_section(_integer(found)),
        *_section(_agreement(found, compared)),
        *_section(_forms(found, reasons)),
        *_section(_tfmot(found, reasons)),
        "## Reasons",
        "",
    )
    for reason, mark in reasons.marks.items():
        yield f"- {mark}: {escape(reason)}"
    if not reasons.marks:
        yield "None: everything was carried out."


def _converted(found: Sequence[FamilyResult]) -> str:
    networks = [f.network for f in found if any(form.converted for form in f.forms)]
    if not networks:
        return ""
    listed = ", ".join(networks)
    return f" ({listed}: Keras 3 has no such network, so that the flat one was converted to it)"


def _whole(family: FamilyResult) -> bool:
    forms = all(not form.error and not form.pruned for form in family.forms)
    return forms and all(not result.error for result in family.recipes)


def _section(table: Table) -> list[str]:
    note = [table.note, ""] if table.note else []
    return [f"## {table.title}", "", *note, *markdown_lines(table), ""]


def _names(*titles: str, numeric: bool = False) -> tuple[Column, ...]:
    return (Column("Network", numeric=False), *(Column(t, numeric=numeric) for t in titles))


def _results(family: FamilyResult, name: str) -> list[RecipeResult]:
    """Of one recipe; several where the forms of a network differ."""
    return [result for result in family.recipes if result.name == name]


def _carried_out(found: Sequence[FamilyResult], reasons: _Reasons) -> Table:
    rows = []
    for family in found:
        cells = [Cell(family.network), Cell(text.count(family.parameters))]
        for name in RECIPES:
            shown = dict.fromkeys(reasons.cell(r.error) for r in _results(family, name))
            cells.append(Cell(" / ".join(shown)))
        rows.append(tuple(cells))
    columns = (Column("Network", numeric=False), Column("Parameters"), *_names(*RECIPES)[1:])
    return Table(
        "Carried out",
        columns,
        tuple(rows),
        note=(
            "PCQAT is `prune+cluster+qat`; `prune_channels` removes 30% and `factorize` 15% of the "
            "multiply-accumulates; `ptq` is not trained. A letter stands for a reason, below."
        ),
    )


def _left_alone(found: Sequence[FamilyResult], reasons: _Reasons) -> Table:
    rows = tuple(
        (
            Cell(family.network),
            *(
                Cell(" / ".join(_counted(result, reasons) for result in _results(family, name)))
                for name in RECIPES
            ),
        )
        for family in found
    )
    return Table(
        "Layers that a technique leaves as they are",
        _names(*RECIPES),
        rows,
        note=(
            "How many, the letter of the reason, below, and how many layers with weights there "
            "are. Of PCQAT, what its last stage leaves."
        ),
    )


def _counted(result: RecipeResult, reasons: _Reasons) -> str:
    if result.layers is None:
        return text.MISSING
    shown = (f"{count} {reasons.mark(why)}" for why, count in result.left_alone.items())
    return f"{', '.join(shown)} of {result.layers}" if result.left_alone else "none"


def _integer(found: Sequence[FamilyResult]) -> Table:
    rows = tuple(
        (
            Cell(family.network),
            *(
                Cell(
                    " / ".join(
                        f"{r.integer_operators} of {r.operators}" if r.operators else text.MISSING
                        for r in _results(family, name)
                    )
                )
                for name in RECIPES
            ),
        )
        for family in found
    )
    return Table(
        "Operators of the int8 file that read and write integers only",
        _names(*RECIPES, numeric=True),
        rows,
    )


def _agreement(found: Sequence[FamilyResult], compared: int) -> Table:
    rows = tuple(
        (
            Cell(family.network),
            *(
                Cell(" / ".join(_agreed(result) for result in _results(family, name)))
                for name in RECIPES
            ),
        )
        for family in found
    )
    return Table(
        "Agreement of the int8 file with its Keras model",
        _names(*RECIPES, numeric=True),
        rows,
        note=(
            f"Over {compared} images: same top class in %, greatest difference of an output in "
            "steps of the file's output scale, mean difference in steps. For `qat`, PCQAT and "
            "`ptq` the Keras model emulates the file's arithmetic: what is left are roundings that "
            "fall on the other side, and they grow through the layers. For the others the Keras "
            "model is in float and the file is quantized after training: the figures hold the loss "
            "of quantizing a network of random weights, which is far from that of a trained one. "
            "Where two classes are nearly equal, which with random weights is often, a step "
            "decides the top class: the steps say more than the percentage."
        ),
    )


def _agreed(result: RecipeResult) -> str:
    if result.top1_agreement is None:
        return text.MISSING
    return (
        f"{text.percent(result.top1_agreement, 1)}, {result.max_steps:.0f}, {result.mean_steps:.2f}"
    )


def _forms(found: Sequence[FamilyResult], reasons: _Reasons) -> Table:
    names = [form.form for form in found[0].forms]
    rows = tuple(
        (
            Cell(family.network),
            *(Cell(_form(form, reasons)) for form in family.forms),
        )
        for family in found
    )
    return Table(
        "Forms",
        _names(*names),
        rows,
        note=(
            "Each form is loaded and brought to the normal form, its outputs held against those of "
            "the network as Keras built it (greatest difference as a part of the greatest output "
            "in parentheses). Where the normal form has the same layers, connections and weights "
            "as that of an earlier form (*as flat*), what is trained and exported would be the "
            "same: such a form is pruned with a training step, and the recipes are run once."
        ),
    )


def _form(form: FormResult, reasons: _Reasons) -> str:
    if form.error or form.pruned:
        return reasons.cell(form.error or form.pruned)
    shown = YES if form.same_as == form.form else f"as {form.same_as}"
    return f"{shown} ({form.difference:.0e})" if form.difference else f"{shown} (0)"


def _tfmot(found: Sequence[FamilyResult], reasons: _Reasons) -> Table:
    rows = tuple(
        (
            Cell(family.network),
            *(
                Cell(reasons.cell(form.tfmot[name])) if name in form.tfmot else Cell(text.MISSING)
                for name in TFMOT
                for form in family.forms
            ),
        )
        for family in found
    )
    titles = [f"{function}, {form.form}" for function in TFMOT.values() for form in found[0].forms]
    return Table(
        "TF-MOT alone",
        _names(*titles),
        rows,
        note="Whether TF-MOT's own function takes the model; the call alone, nothing trained.",
    )
