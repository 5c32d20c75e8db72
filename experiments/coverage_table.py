"""Tries every technique on every family of Keras' networks, and writes docs/coverage.md.

    python -m experiments.coverage_table

takes about an hour on two cores. Each family runs in a process of its own and leaves a JSON file in
--output_dir; the same command goes on with the families that have none, or one that was made by
other code. A part of it:

    python -m experiments.coverage_table --families=MobileNet,RegNetX002 --output_dir=runs/coverage
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import app, flags

from experiments import coverage_page, families, list_flags, networks, program
from experiments.families import FamilyResult
from tfcompress import durable, records, registry

PAGE = "docs/coverage.md"
ROOT = Path(__file__).parents[1]
LONGEST = ("DenseNet121", "InceptionResNetV2", "NASNetMobile", "ResNetRS50")
# What the entries depend on.
SOURCES = (
    "experiments/families.py",
    "experiments/networks.py",
    "tfcompress/_keras.py",
    "tfcompress/compose.py",
    "tfcompress/export.py",
    "tfcompress/planned_stages.py",
    "tfcompress/training.py",
    "tfcompress/backbones/*.py",
    "tfcompress/graph/*.py",
    "tfcompress/optimizers/*.py",
    "tfcompress/techniques/*.py",
)


def define_flags() -> None:
    """Defines this program's flags."""
    known = ", ".join(networks.FAMILIES)
    list_flags.define("families", ["all"], f"all, or some of {known}.")
    list_flags.define("forms", list(networks.FORMS), "In which each network is given.")
    flags.DEFINE_integer("image_size", 96, "Height and width in pixels.", lower_bound=32)
    flags.DEFINE_integer("examples", 256, "Images that are compared.", lower_bound=1)
    flags.DEFINE_integer("processes", 2, "Families that run at a time.", lower_bound=1)
    flags.DEFINE_string("output_dir", "results/coverage", "One JSON file for each family.")
    flags.DEFINE_string("page", None, f"The page to write; {PAGE} where every family is asked for.")
    flags.DEFINE_bool("worker", False, "Run the one family that is named in this process.")


@program.entry(words="Separate by commas.", resumable=True)
def main() -> None:
    """Runs what has no entry yet, then writes the page."""
    values = flags.FLAGS
    wanted = chosen(values.families)
    for form in values.forms:
        registry.require(form, networks.FORMS, what="form")
    if values.worker:
        work(wanted[0], values)
    else:
        found = collected(wanted, values)
        if page := values.page or _default_page(wanted, values.forms):
            durable.write_text(page, coverage_page.render(found))
            print(f"Page: {page}")


def _default_page(wanted: Sequence[str], forms: Sequence[str]) -> str:
    """The project's own page, where it would hold all of the table."""
    return PAGE if (*wanted, *forms) == (*networks.FAMILIES, *networks.FORMS) else ""


def chosen(names: Sequence[str]) -> list[str]:
    """The networks of `--families`, in the table's order.

    Raises:
      ValueError: none; or an unknown one, and the known ones are listed.
    """
    for name in names:
        registry.require(name, ("all", *networks.FAMILIES), what="family")
    if not names:
        raise ValueError("--families names none. Expected all, or some, separated by commas.")
    return [name for name in networks.FAMILIES if name in names or "all" in names]


def work(network: str, values: Any) -> None:
    """Runs one family and writes its entry."""
    found = families.tried(
        network, forms=values.forms, image_size=values.image_size, examples=values.examples
    )
    entry = {"key": key(values), "value": dataclasses.asdict(found)}
    durable.write_json(entry_path(network, values), entry)


def collected(wanted: Sequence[str], values: Any) -> list[FamilyResult]:
    """The entries of the families, each made in a process of its own where it is missing.

    Raises:
      ValueError: a process ended without an entry; those of the others are kept.
    """
    # Else one of them would be left over at the end, on one core.
    longest_first = sorted(wanted, key=lambda network: network not in LONGEST)
    with ThreadPoolExecutor(values.processes) as pool:
        said = list(pool.map(lambda network: _entry_made(network, values), longest_first))
    pairs = zip(longest_first, said, strict=True)
    failed = [f"{network} ({text})" for network, text in pairs if text]
    if failed:
        raise ValueError(
            f"No entry for {', '.join(failed)}. The same command goes on with what is missing."
        )
    return [read_entry(network, values) for network in wanted]


def _entry_made(network: str, values: Any) -> str:
    """Makes an entry that is missing or old; gives why it could not be made, or nothing."""
    if _is_current(network, values):
        print(f"{network}: made before", flush=True)
        return ""
    done = subprocess.run(
        _command(network, values),
        env={**os.environ, **_threads(values.processes), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        return f"status {done.returncode}: {lines[-1]}"
    if not _is_current(network, values):
        return "the code changed meanwhile"
    print(f"{network}: {coverage_page.in_a_line(read_entry(network, values))}", flush=True)
    return ""


def _command(network: str, values: Any) -> list[str]:
    """The call of this program for one family."""
    given = {
        "families": network,
        "forms": ",".join(values.forms),
        "image_size": values.image_size,
        "examples": values.examples,
        "output_dir": values.output_dir,
    }
    shown = [f"--{name}={value}" for name, value in given.items()]
    return [sys.executable, "-m", "experiments.coverage_table", "--worker", *shown]


def _threads(processes: int) -> dict[str, str]:
    """The processor's threads, shared among the processes."""
    share = str(max((os.cpu_count() or 1) // processes, 1))
    return dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), share)


def entry_path(network: str, values: Any) -> Path:
    """Where a family's entry lies."""
    return Path(values.output_dir) / f"{network}.json"


def key(values: Any) -> str:
    """Tells what an entry was made with: the settings, and the code that it depends on."""
    settings = (sorted(values.forms), values.image_size, values.examples)
    files = sorted(path for pattern in SOURCES for path in ROOT.glob(pattern))
    lines = [f"{path.relative_to(ROOT)} {durable.sha256_of_file(path)}" for path in files]
    return durable.sha256("\n".join([str(settings), *lines]).encode())


def _is_current(network: str, values: Any) -> bool:
    try:
        current: bool = durable.read_json(entry_path(network, values))["key"] == key(values)
        return current
    except (OSError, ValueError, TypeError, KeyError):
        return False


def read_entry(network: str, values: Any) -> FamilyResult:
    """A family's entry.

    Raises:
      OSError: there is none.
    """
    entry = durable.read_json(entry_path(network, values))
    found: FamilyResult = records.from_record(FamilyResult, entry["value"])
    return found


if __name__ == "__main__":
    define_flags()
    app.run(main)
