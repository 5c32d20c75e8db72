"""What the README says must work as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)
README = (ROOT / "README.md").read_text(encoding="utf-8")


COMPRESSING, COMBINING, OWN_MODEL = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(script: str, folder: Path) -> str:
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout


def test_scripts_run_one_after_the_other(tmp_path: Path) -> None:
    """The second goes on from the first, and raises where one technique undoes another."""
    second = f"print('combined')\n{COMBINING}\nprint(artifact.integer_operators)"
    printed = run(f"{COMPRESSING}\n{second}", tmp_path)
    assert (tmp_path / "digits.tflite").stat().st_size < 40_000
    # The last three lines of the first are the three predictions: a digit and its probability.
    for line in printed.split("combined")[0].splitlines()[-3:]:
        label, probability = line.split()
        assert label in "0123456789"
        assert 0 <= float(probability) <= 1


def test_a_model_of_ones_own_goes_in_and_back_to_keras_3(tmp_path: Path) -> None:
    run(OWN_MODEL, tmp_path)
    assert (tmp_path / "clustered.keras").stat().st_size > 1_000_000


def test_recipes_can_be_carried_out() -> None:
    from tfcompress.backbones import TextConfig
    from tfcompress.config import RunConfig
    from tfcompress.data import DataConfig

    of_texts = README.partition("\n## Texts\n")[2].partition("\n## ")[0]
    recipes = re.findall(r'--recipe="([^"]+)"', README)
    assert len(recipes) >= 2
    for text in recipes:
        both = {"data": DataConfig(name="glue/sst2", task="text"), "backbone": TextConfig()}
        assert RunConfig(recipes=(text,), **(both if f'"{text}"' in of_texts else {})).plans


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_a_page_and_a_heading(page: str) -> None:
    found = re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    assert found or page != "README.md"
    for link in found:
        name, _, heading = link.partition("#")
        if "://" in name:
            continue
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def headings(page: Path) -> set[str]:
    """The anchors that a page's headings have: lower case, hyphens for spaces, no punctuation."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
