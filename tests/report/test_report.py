from __future__ import annotations

import dataclasses
import io
import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest
from rich.console import Console

from tfcompress import report
from tfcompress.report import markdown, terminal
from tfcompress.report.run import RunFolderError

VOID = {"meta", "br", "wbr", "rect", "path", "use", "line"}


class _Balance(HTMLParser):
    """Counts open tags and collects what refers outside the page."""

    def __init__(self):
        super().__init__()
        self.open, self.outside, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href", "xlink:href") and not value.startswith("#"):
                self.outside.append(value)
        if tag in ("script", "link", "img", "iframe"):
            self.outside.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _parse(path):
    page = _Balance()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_render_writes_a_self_contained_page(make_run):
    folder = make_run()
    paths = report.render(folder)
    assert paths.html == folder / "report.html"
    page = _parse(paths.html)
    assert page.open == []
    assert page.outside == []
    text = paths.html.read_text()
    assert "prefers-color-scheme: dark" in text
    assert "@import" not in text
    assert text.count('<div class="scroll"') == text.count("<table>")
    assert not re.search(r"url\((?!#)", text)


def test_every_colour_of_the_page_is_defined_for_light_and_dark(make_run):
    text = report.render(make_run()).html.read_text()
    used = set(re.findall(r"var\(--([a-z]+)\)", text))
    for role in used:
        assert text.count(f"--{role}: #") == 2, role


def test_the_page_and_the_markdown_say_the_same(make_run):
    paths = report.render(make_run())
    page = " ".join(" ".join(_parse(paths.html).text).split())
    text = paths.markdown.read_text()
    for sentence in (
        "prune+qat-int8 is the smallest file, gzipped, that shows no loss against the baseline.",
        "no difference shown at this sample size (2,000 images, on which",
        "Wilson's score interval",
    ):
        assert sentence in page
        assert sentence in text
    for path in paths.figures:
        assert path.is_file()
        assert f"](figures/{path.name})" in text


def test_rendering_again_gives_the_same_bytes_and_leaves_nothing_else(make_run):
    folder = make_run()
    first = {p: p.read_bytes() for p in _flat(report.render(folder))}
    second = {p: p.read_bytes() for p in _flat(report.render(folder))}
    assert first == second
    assert {p.name for p in folder.iterdir()} == {
        "results.json", "predictions", "report.md", "report.html", "figures", "tables",
    }  # fmt: skip


def _flat(paths):
    return (paths.markdown, paths.html, *paths.figures, *paths.tables)


def test_a_refused_run_leaves_no_report(make_run):
    folder = make_run()
    (folder / "predictions" / "baseline.npz").unlink()
    with pytest.raises(RunFolderError, match="Missing predictions"):
        report.render(folder)
    assert not (folder / "report.html").exists()
    assert not (folder / "figures").exists()


def test_text_from_the_run_is_escaped(make_run):
    def edit(made):
        data = dataclasses.replace(made.data, name="<script>alert(1)</script>")
        return dataclasses.replace(made, data=data, config={"x": "<img src=y>"})

    page = _parse(report.render(make_run(edit=edit)).html)
    assert page.outside == []
    assert "<script>alert(1)</script>" in "".join(page.text)


def test_a_run_with_the_least_results_is_rendered(make_run):
    def edit(made):
        bare = dataclasses.replace(
            made.artifacts[1], accuracy_interval=None, difference=None, difference_interval=None,
            p_value=None, parity=None, latency_ms=(), predictions=None, gzip_size_bytes=None,
        )  # fmt: skip
        return dataclasses.replace(
            made,
            config={},
            environment={},
            artifacts=(bare,),
            stages=(),
            evaluation_speed=None,
            seconds=None,
        )

    paths = report.render(make_run(edit=edit))
    shown = ["accuracy-size", "reliability", "selective-accuracy"]
    assert [path.stem for path in paths.figures] == shown
    assert "no verdict" in paths.html.read_text()


def test_markdown_tables_hold_their_columns(make_run):
    lines = report.render(make_run()).markdown.read_text().splitlines()
    widths = set()
    for index, line in enumerate(lines):
        if re.match(r"\| :?-", line):
            widths.add(line.count("|"))
            assert re.sub(r"\\\|", "", lines[index - 1]).count("|") == line.count("|")
            assert re.sub(r"\\\|", "", lines[index + 1]).count("|") == line.count("|")
    assert {8, 11} <= widths


def test_markdown_escapes_markup():
    assert markdown.escape("a|b_c\n<d>") == "a\\|b\\_c &lt;d&gt;"


def test_twenty_files_on_ten_thousand_images_take_seconds(make_run, twenty_files):
    folder = make_run(twenty_files, images=10_000)
    start = time.process_time()
    report.render(folder)
    assert time.process_time() - start < 20


def test_no_tensorflow_is_imported(make_run):
    code = (
        "import sys; from tfcompress import report; report.render(sys.argv[1]); "
        "sys.exit(any(m.split('.')[0] in ('tensorflow', 'tf_keras', 'matplotlib.pyplot') "
        "for m in sys.modules) or 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, str(make_run())], check=False)
    assert done.returncode == 0


def test_the_closing_table_fits_a_terminal(example):
    stream = io.StringIO()
    terminal.print_summary(example, Console(file=stream, width=100))
    text = stream.getvalue()
    assert "prune+qat-int8" in text
    assert "40.4" in text
    assert "prune+qat-int8 is the smallest file, gzipped, that shows no loss" in text
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "distill+prune_channels+prune+cluster+qat-int8",
            ("distill+prune_channels+", "prune+cluster+qat-int8"),
        ),
        (
            "prune_channels-0.7-rounds-2-epochs-6+qat-int8",
            ("prune_channels-0.7-", "rounds-2-epochs-6+qat-", "int8"),
        ),
    ],
)
def test_a_long_recipe_leaves_the_numbers_whole(example, name, lines):
    long = dataclasses.replace(
        example, artifacts=[dataclasses.replace(one, name=name) for one in example.artifacts]
    )
    stream = io.StringIO()
    terminal.print_summary(long, Console(file=stream, width=80))
    text = stream.getvalue()
    assert all(f"\n{line} " in text for line in lines)
    assert re.search(r" 40\.4\s", text)
    assert re.search(r"\d\.\d\d to ", text)
    assert "Difference" in text
    assert "Zeros" not in text


def test_a_report_on_texts_speaks_of_texts(make_run):
    def of_texts(made):
        return dataclasses.replace(made, data=dataclasses.replace(made.data, example="text"))

    paths = report.render(make_run(edit=of_texts))
    page = paths.markdown.read_text(encoding="utf-8")
    assert "2,000 test texts" in page
    assert "image" not in page.lower()
    drawn = {path.stem: path.read_text(encoding="utf-8") for path in paths.figures}
    assert "Texts answered" in drawn["selective-accuracy"]
