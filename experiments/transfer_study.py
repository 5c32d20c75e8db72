"""Asks what compression does to transfer learning: in which order, which regime, to which target.

    python -m experiments.transfer_study --backbone=resnet8@mnist,MobileNet:0.25:64@cifar10 \
        --compression="prune(0.8)" --compression="cluster(16)" --output_dir=runs/transfer

carries out a small trial for each backbone, target, seed, compression, order and share of frozen
layers, prints Markdown tables and draws figures. An interrupted study goes on with the same
command; with more seeds, backbones, targets or compressions it goes on in the same folder, too. A
study of a minute:

    python -m experiments.transfer_study --smoke --output_dir=runs/transfer_smoke
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from experiments import list_flags, program

_SMOKE = {
    "backbone": ["resnet8"],
    "dataset": ["mnist_sample"],
    "compression": ["prune(0.5)"],
    "seed": ["0", "1"],
    "frozen": ["0", "1"],
    "epochs": 2,
    "compression_epochs": 1,
    "probe_epochs": 2,
    "max_train": 256,
    "batch_size": 32,
    "upstream_epochs": 1,
    "upstream_max_train": 256,
}


def define_flags() -> None:
    """Defines this program's flags."""
    list_flags.define(
        "backbone",
        ["resnet8", "MobileNet:0.25:64"],
        "NAME, NAME:WIDTH or NAME:WIDTH:SIZE, with pretrained weights; with @DATASET for that "
        "target alone.",
    )
    list_flags.define("dataset", ["mnist", "fashion_mnist"], "Targets of the transfer.")
    list_flags.define("seed", ["0", "1", "2"], "Of the head, the order and the choice of images.")
    flags.DEFINE_multi_string(
        "compression",
        ["prune(0.8)", "cluster(16)", "prune_channels(0.5)"],
        "A recipe of prune_channels, factorize, prune and cluster. Several times.",
    )
    list_flags.define(
        "part",
        ["a", "b", "c", "d"],
        "a: before or after the transfer; b: linear probe and full fine-tune; c: over the targets; "
        "d: frozen layers.",
    )
    list_flags.define("regime", ["linear_probe", "full"], "Of parts b and c.")
    list_flags.define("frozen", ["0", "0.25", "0.5", "0.75", "1"], "Shares of layers, for part d.")
    flags.DEFINE_multi_string(
        "frozen_compression",
        None,
        "What part d is asked of: none, or a --compression. Several times; by default none and the "
        "first.",
    )
    list_flags.define(
        "upstream",
        [],
        "BACKBONE=DATASET, such as resnet8=cifar10: compressing before the transfer is trained "
        "there. Without it, it is done in one step, with no images.",
    )
    flags.DEFINE_integer("image_size", 0, "Side in pixels, for backbones that name none.")
    flags.DEFINE_bool("smoke", False, "A study of seconds, where other flags say nothing else.")
    flags.DEFINE_bool("report_only", False, "Tables of what the folder holds; nothing is trained.")
    flags.DEFINE_string("output_dir", None, "The study's folder.", required=True)
    for name, text in _SETTINGS.items():
        flags.DEFINE_integer(name, None, f"{text} Default: {_usual(name)}.")
    flags.DEFINE_float("learning_rate", None, "Highest one of the transfer. Default: 0.001.")


_SETTINGS = {
    "epochs": "Over the target's training images, in every order.",
    "compression_epochs": "Of them, those of a compression after the transfer.",
    "probe_epochs": "Of the head of a linear probe, on encoded images.",
    "max_train": "Training images of a target; 0 for all.",
    "batch_size": "Images in a step.",
    "upstream_epochs": "Of each stage of an upstream compression.",
    "upstream_max_train": "Images that it is trained on; 0 for all.",
}


def _usual(name: str) -> Any:
    from tfcompress.studies.transfer_plan import TransferSettings

    return getattr(TransferSettings(), name)


@program.entry(resumable=True)
def main() -> None:
    """Carries out the trials, prints, draws."""
    written = run(flags.FLAGS)
    print("\nWritten: " + "\n         ".join(map(str, written)))


def run(values: Any) -> list[Path]:
    """Carries out the trials that are missing, prints the tables; the paths of what was written."""
    from rich.console import Console

    from tfcompress import durable, transfer_tables
    from tfcompress.progress import Reporter
    from tfcompress.studies import transfer

    config = config_from(values)
    folder = Path(values.output_dir)
    if values.report_only:
        found = transfer.collected(config, folder)
    else:
        found = transfer.study(config, folder, reporter=Reporter(Console()))
    text = "\n".join(transfer_tables.table_lines(found)) + "\n"
    print(f"\n{text}")
    table = folder / "transfer_study.md"
    durable.write_text(table, text)
    return [folder / transfer.RESULT, table, *_drawn(found, folder)]


def _drawn(found: Any, folder: Path) -> list[Path]:
    """The figures for which there are results."""
    from tfcompress import durable
    from tfcompress.report import drawing, transfer_charts

    written = []
    for name, draw in transfer_charts.FIGURES.items():
        # What is not there yet has no figure.
        with contextlib.suppress(transfer_charts.NothingToDraw):
            path = folder / f"transfer_{name}.svg"
            durable.write_text(path, drawing.for_file(draw(found)))
            written.append(path)
    return written


def config_from(values: Any) -> Any:
    """The study that the flags ask for.

    Raises:
      ValueError: flags that contradict one another, a word where a number belongs, or what the
        study's config refuses.
    """
    from tfcompress.studies import transfer_plan
    from tfcompress.transfer import NONE

    chosen = _chosen(values)
    _require_used(values, chosen)
    settings = {name: chosen(name) for name in (*_SETTINGS, "learning_rate")}
    compressions = tuple(chosen("compression"))
    return transfer_plan.TransferConfig(
        pairs=transfer_plan.pairs(
            chosen("backbone"),
            chosen("dataset"),
            upstream=chosen("upstream"),
            image_size=chosen("image_size"),
        ),
        compressions=compressions,
        seeds=tuple(_numbers(chosen("seed"), int, "seed", "whole numbers, such as 0,1,2")),
        parts=tuple(chosen("part")),
        regimes=tuple(chosen("regime")),
        frozen=tuple(_numbers(chosen("frozen"), float, "frozen", "fractions, such as 0,0.5,1")),
        frozen_compressions=tuple(chosen("frozen_compression") or (NONE, *compressions[:1])),
        settings=transfer_plan.TransferSettings(
            **{name: value for name, value in settings.items() if value is not None}
        ),
    )


def _chosen(values: Any) -> Any:
    """A function from a flag's name to its value, that of a smoke study where that is asked for."""

    def value(name: str) -> Any:
        smoke = values.smoke and name in _SMOKE and not values[name].present
        return _SMOKE[name] if smoke else values[name].value

    return value


def _require_used(values: Any, chosen: Any) -> None:
    """Refuses a flag of a part that is not asked for."""
    of_parts = {"regime": "bc", "frozen": "d", "frozen_compression": "d"}
    for name, parts in of_parts.items():
        if values[name].present and not {*parts} & {*chosen("part")}:
            raise ValueError(
                f"--{name} belongs to part {' and '.join(parts)}. Received also: "
                f"--part={','.join(chosen('part'))}. Leave it out, or add the part."
            )
    named = [text for text in chosen("backbone") if "@" not in text]
    if values["dataset"].present and not named:
        raise ValueError(
            "--dataset is for backbones that name no target, but every --backbone has its "
            "@DATASET. Leave one of them out."
        )


def _numbers(texts: Sequence[str], kind: Any, flag: str, expected: str) -> list[Any]:
    try:
        return [kind(text) for text in texts]
    except ValueError:
        raise ValueError(f"--{flag} takes {expected}. Received: {list(texts)}.") from None


if __name__ == "__main__":
    define_flags()
    app.run(main)
