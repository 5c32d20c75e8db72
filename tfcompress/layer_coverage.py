"""Which layers of a model which technique treats, as data and as a table of text.

Knows how shares are counted and how a row reads. Does not know how it is found out
(`survey` does), nor any markup. No TensorFlow here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import ascii_lowercase

TREATED = "yes"
NOTHING = "-"
_FIGURES = 2  # Columns of figures, between name and kind and the techniques.


@dataclass(frozen=True)
class LayerCoverage:
    """What techniques can do to one layer, found without training.

    Attributes:
      name: the layer's name.
      kind: its class name.
      parameters: elements of its weights, trainable and not.
      macs: its multiply-accumulates for one image; None where the model's input has an open size.
      skipped: by technique, why the layer is left as it is; other techniques treat it.
      left_out: by technique, which weights of a treated layer are left as they are, and why.
    """

    name: str
    kind: str
    parameters: int
    macs: int | None
    skipped: Mapping[str, str]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class TechniqueCoverage:
    """How much of a model one technique treats.

    Attributes:
      technique: as in a recipe, such as `"prune(0.8)"`.
      layers: treated layers that have weights.
      parameters: elements of the weights of treated layers, without those that are left out.
      macs: multiply-accumulates of treated layers; None where the model's input has an open size.
    """

    technique: str
    layers: int
    parameters: int
    macs: int | None


@dataclass(frozen=True)
class Coverage:
    """What each technique can do to each layer of a model; prints as a table.

    Attributes:
      model: the model's name.
      layers: those with weights, and others that a technique leaves as they are.
      techniques: in the order of the table's columns.
    """

    model: str
    layers: tuple[LayerCoverage, ...]
    techniques: tuple[TechniqueCoverage, ...]

    @property
    def parameters(self) -> int:
        """Elements of all weights."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one image; None where the model's input has an open size."""
        return total(layer.macs for layer in self.layers)

    @property
    def weighted(self) -> int:
        """How many layers have weights."""
        return sum(1 for layer in self.layers if layer.parameters)

    def parameter_share(self, technique: str) -> float | None:
        """The fraction of the parameters that a technique treats; None where there are none."""
        return _fraction(self._of(technique).parameters, self.parameters)

    def mac_share(self, technique: str) -> float | None:
        """The fraction of the multiply-accumulates in layers that a technique treats."""
        return _fraction(self._of(technique).macs, self.macs)

    def summary(self, technique: str) -> str:
        """One line on a technique.

        Example:
          >>> layer = LayerCoverage("conv", "Conv2D", 9, 90, {}, {})
          >>> Coverage("tiny", (layer,), (TechniqueCoverage("qat", 1, 9, 90),)).summary("qat")
          'qat: 1 of 1 layers, 100.0% of the parameters, 100.0% of the multiply-accumulates'
        """
        return (
            f"{technique}: {self._of(technique).layers} of {self.weighted} layers, "
            f"{_percent(self.parameter_share(technique))} of the parameters, "
            f"{_percent(self.mac_share(technique))} of the multiply-accumulates"
        )

    def _of(self, technique: str) -> TechniqueCoverage:
        for found in self.techniques:
            if found.technique == technique:
                return found
        known = ", ".join(found.technique for found in self.techniques)
        raise ValueError(f"No coverage of {technique!r}. Known: {known}.")

    def grid(self) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
        """The table as text.

        Returns:
          The rows (headings first, the shares of parameters and of multiply-accumulates last), in
          which a layer that is passed over shows a letter, and for each letter a line with the
          reason.
        """
        marks: dict[str, str] = {}
        names = [found.technique for found in self.techniques]
        rows = [("layer", "kind", "parameters", "MACs", *names)]
        for layer in self.layers:
            cells = (_cell(layer, name, marks) for name in names)
            rows.append(
                (layer.name, layer.kind, _count(layer.parameters), _count(layer.macs), *cells)
            )
        shares = [_percent(self.parameter_share(name)) for name in names]
        rows.append(("share of the parameters", "", _count(self.parameters), "", *shares))
        shares = [_percent(self.mac_share(name)) for name in names]
        rows.append(("share of the MACs", "", "", _count(self.macs), *shares))
        return tuple(rows), tuple(f"{mark}: {reason}" for reason, mark in marks.items())

    def __str__(self) -> str:
        rows, reasons = self.grid()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if 2 <= index < 2 + _FIGURES else cell.ljust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([f"{self.model}", *lines, *reasons])

    def to_csv(self) -> str:
        """One line for each layer, with the whole reason where a technique passes over it."""
        names = [found.technique for found in self.techniques]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["layer", "kind", "parameters", "macs", *names])
        for layer in self.layers:
            cells = [_sentence(layer, name) for name in names]
            writer.writerow([layer.name, layer.kind, layer.parameters, layer.macs, *cells])
        return text.getvalue()


def _cell(layer: LayerCoverage, technique: str, marks: dict[str, str]) -> str:
    """`yes`, or a letter that stands for the reason; letters are dealt out as reasons appear."""
    reason = layer.skipped.get(technique) or layer.left_out.get(technique)
    if reason is None:
        return _unskipped(layer)
    mark = marks.setdefault(reason, _letters(len(marks)))
    return f"part: {mark}" if technique in layer.left_out else f"no: {mark}"


def _letters(index: int) -> str:
    """`a` to `z`, then `aa`, `ab` and so on."""
    rest, last = divmod(index, len(ascii_lowercase))
    return (_letters(rest - 1) if rest else "") + ascii_lowercase[last]


def _sentence(layer: LayerCoverage, technique: str) -> str:
    if technique in layer.skipped:
        return f"no: {layer.skipped[technique]}"
    if technique in layer.left_out:
        return f"in part: {layer.left_out[technique]}"
    return _unskipped(layer)


def _unskipped(layer: LayerCoverage) -> str:
    """A layer without weights offers most techniques nothing to treat."""
    return TREATED if layer.parameters else NOTHING


def total(counts: Iterable[int | None]) -> int | None:
    """The sum, or None where one of the counts is not known.

    Example:
      >>> total([1, 2]), total([1, None])
      (3, None)
    """
    listed = list(counts)
    known = [count for count in listed if count is not None]
    return sum(known) if len(known) == len(listed) else None


def _count(count: int | None) -> str:
    return NOTHING if count is None else f"{count:,}"


def _fraction(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
