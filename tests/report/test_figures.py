from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from tfcompress import statistics
from tfcompress.level_search import LevelTrial
from tfcompress.report import (
    class_changes,
    drawing,
    figures,
    level_chart,
    run,
    time_curves,
    trade_off,
    trade_off_chart,
    training_curves,
)
from tfcompress.results import ArtifactResult, DataResult, Results, StageResult

SVG = "{http://www.w3.org/2000/svg}"
NAMES = [
    "accuracy-size",
    "accuracy-latency",
    "class-change",
    "reliability",
    "selective-accuracy",
    "layer-sparsity",
    "training-curves",
    "accuracy-time",
]


@pytest.fixture(scope="module")
def drawn(kept_run):
    return figures.draw_all(run.load(kept_run))


def _texts(svg):
    return {e.text.strip() for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if e.text}


def test_every_figure_is_drawn_at_both_widths(drawn):
    assert [each.name for each in drawn] == NAMES
    for each in drawn:
        for svg, width in ((each.wide, figures.WIDE), (each.narrow, figures.NARROW)):
            root = ElementTree.fromstring(svg)
            assert root.get("viewBox").split()[2] == str(width)
            assert root.find(f"{SVG}title").text == each.title
            assert root.find(f"{SVG}desc").text == each.description
            assert root.get("role") == "img"


def test_text_stays_text_and_points_are_named(drawn):
    shown = _texts(drawn[0].wide)
    assert {"prune+qat-int8", "baseline-float32", "Size of the gzipped file, KiB"} <= shown


def test_ids_are_unique_over_the_page(drawn):
    ids = [
        i
        for each in drawn
        for svg in (each.wide, each.narrow)
        for i in re.findall(r'\bid="([^"]+)"', svg)
    ]
    assert len(ids) == len(set(ids))
    page = "".join(each.wide + each.narrow for each in drawn)
    for target in re.findall(r'(?:url\(#|href="#)([^)"]+)', page):
        assert target in ids


def test_the_pages_colours_replace_every_light_one(drawn):
    for each in drawn:
        page = drawing.for_page(each.wide)
        assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(url\(|href=")#[^)"]+', "", page))


def test_no_external_resource(drawn):
    for each in drawn:
        urls = set(re.findall(r"https?://[^\"' )]+", each.wide))
        assert urls <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_drawing_leaves_matplotlib_as_it_was(make_run):
    before = dict(mpl.rcParams)
    figures.draw_all(run.load(make_run()))
    assert dict(mpl.rcParams) == before


def test_the_same_run_gives_the_same_bytes(make_run):
    loaded = run.load(make_run())
    assert figures.draw_all(loaded) == figures.draw_all(loaded)


def test_a_run_with_nothing_measured_has_no_figures(tmp_path):
    bare = Results({}, {}, DataResult("x", "s", ("a",), {}), ArtifactResult("b"), ())
    assert figures.draw_all(run.Run(tmp_path, bare, {})) == ()


def test_crowded_points_get_numbers_and_a_key(example):
    entries = tuple(dataclasses.replace(example.artifacts[1], name=f"file-{i}") for i in range(15))
    points = trade_off.size_points(dataclasses.replace(example, artifacts=entries))
    with drawing.theme():
        figure = trade_off_chart.draw(points, example.baseline, x_title="x", width=528)
        shown = _texts(drawing.to_svg(figure, name="n", title="t", description="d"))
    assert {str(i + 1) for i in range(15)} <= shown
    assert {f"file-{i}" for i in range(15)} <= shown


def test_a_collapsed_file_does_not_press_the_others_together(example):
    collapsed = dataclasses.replace(example.artifacts[1], accuracy=0.1, accuracy_interval=None)
    made = dataclasses.replace(example, artifacts=(*example.artifacts, collapsed))
    low, high = trade_off_chart._accuracy_range(
        trade_off.size_points(made), made.baseline, trade_off.Limits()
    )
    assert high - low < 10
    with drawing.theme():
        figure = trade_off_chart.draw(
            trade_off.size_points(made), made.baseline, x_title="x", width=528
        )
        svg = drawing.to_svg(figure, name="n", title="t", description="d")
    assert "(10.0%)" in svg
    assert trade_off_chart._kept(trade_off.size_points(made), made.baseline) == [
        *trade_off.size_points(example)
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_equal_points_have_an_axis(example, count):
    points = trade_off.size_points(example)[:1] * count
    bare = ArtifactResult("baseline")
    with drawing.theme():
        figure = trade_off_chart.draw(points, bare, x_title="x", width=340)
        drawing.to_svg(figure, name="n", title="t", description="d")


def test_odd_names_are_text_not_markup(make_run):
    def edit(made):
        data = dataclasses.replace(
            made.data, classes=("$x$", "<b>", "日本", *made.data.classes[3:])
        )
        odd = dataclasses.replace(made.artifacts[1], name="a<b>&$\\frac{1}{2}$")
        return dataclasses.replace(made, data=data, artifacts=(made.artifacts[0], odd))

    drawn = {each.name: each.wide for each in figures.draw_all(run.load(make_run(edit=edit)))}
    for svg in drawn.values():
        ElementTree.fromstring(svg)
    assert {"$x$", "<b>", "日本"} <= _texts(drawn["class-change"])


@pytest.mark.parametrize(
    "history",
    [
        ({"loss": 1.0, "accuracy": 0.5},),
        ({"loss": 1.0}, {"loss": 0.9}),
        ({"loss": 1.0, "val_loss": 1.1}, {"loss": 0.5, "val_loss": 1.2}),
    ],
    ids=["one epoch", "loss only", "no accuracy"],
)
def test_curves_of_scant_histories(history):
    stages = [StageResult("00-baseline", "baseline", {}, history, best_epoch=0)]
    assert training_curves.trained(tuple(stages)) == stages
    with drawing.theme():
        figure = training_curves.draw(stages, width=340)
        drawing.to_svg(figure, name="n", title="t", description="d")


def test_class_changes_by_hand(make_run):
    loaded = run.load(make_run())
    changes = class_changes.table(loaded)
    labels = np.arange(2000) % 10
    base, mine = (loaded.judged[name].right for name in ("baseline", "baseline-int8"))
    row = changes.files.index("baseline-int8")
    expected = [(mine[labels == k].mean() - base[labels == k].mean()) for k in range(10)]
    assert [c.change for c in changes.changes[row]] == pytest.approx(expected)
    assert sum(expected) / 10 == pytest.approx(-10 / 2000)
    assert changes.omitted == 0


def test_the_front_holds_what_nothing_beats(example):
    # gzipped KiB and accuracy by hand: the smallest first, and no accuracy is bought twice.
    points = {p.name: p for p in trade_off.size_points(example)}
    front = trade_off.front(list(points.values()))
    assert front[0].name == "prune+qat-int8"
    for kept in points.values():
        beaten = any(
            p.x <= kept.x
            and p.accuracy >= kept.accuracy
            and (p.x, p.accuracy) != (kept.x, kept.accuracy)
            for p in points.values()
        )
        assert (kept in front) != beaten


def _stage(name, after, seconds, accuracies):
    history = tuple({"seconds": seconds, "val_accuracy": value} for value in accuracies)
    return StageResult(name, "x", {}, history, seconds=seconds * len(accuracies), after=after)


def test_stages_follow_one_another_on_the_clock():
    stages = (
        _stage("00-head", None, 30, (0.4,)),
        _stage("01-baseline", "00-head", 30, (0.5, 0.6, 0.6)),
        # Two recipes prune, with other settings; the second goes on. Then two rounds of one stage.
        _stage("02-prune", "01-baseline", 30, (0.55,)),
        _stage("03-prune", "01-baseline", 60, (0.55,)),
        _stage("04-prune+qat", "02-prune", 30, (0.58,)),
        _stage("05-prune_channels", "01-baseline", 60, (0.57,)),
        _stage("06-prune_channels-2", "05-prune_channels", 60, (0.57,)),
    )
    found = {curve.title: curve.minutes for curve in time_curves.curves(stages)}
    assert found == {
        "00-head": (0.5,),
        "01-baseline": (1.0, 1.5, 2.0),
        "02-prune": (2.5,),
        "03-prune": (3.0,),
        "04-prune+qat": (3.0,),
        "05-prune_channels": (3.0,),
        "06-prune_channels-2": (4.0,),
    }
    unknown = (stages[0], dataclasses.replace(stages[1], after=None))
    assert time_curves.curves(unknown) == ()


def test_only_the_classes_that_change_most_are_shown(make_run):
    classes = tuple(f"c{i}" for i in range(40))
    changes = class_changes.table(run.load(make_run(images=4000, classes=classes)))
    assert len(changes.classes) == class_changes.MOST_CLASSES
    assert changes.omitted == 30


def test_cells_stand_out_after_a_correction_for_all_classes(make_run):
    """Also for those that are not shown, as the shown ones were chosen for their change."""
    classes = tuple(f"c{i}" for i in range(40))
    loaded = run.load(make_run(images=4000, classes=classes))
    files = class_changes.table(loaded).files
    labels, base = np.arange(4000) % 40, loaded.judged["baseline"].right

    def judged(right):
        changed = {
            name: dataclasses.replace(
                loaded.judged[name],
                class_changes=statistics.per_class_change(mine, base, labels, classes=40),
            )
            for name, mine in right.items()
        }
        return dataclasses.replace(loaded, judged=changed)

    # In class 3 a file loses so many images that p is 0.002: enough for the 10 shown classes of
    # one file, not for all 40.
    right = {name: base.copy() for name in files}
    members = np.flatnonzero((labels == 3) & base)
    right["baseline-int8"][members[:10]] = False
    assert not class_changes.table(judged(right)).significant.any()
    right["baseline-int8"][members[:20]] = False
    many = class_changes.table(judged(right))
    assert many.significant.tolist() == [
        [name == "baseline-int8" and k == "c3" for k in many.classes] for name in files
    ]
    # The baseline's own float32 file is no comparison, whatever it says.
    right["baseline-int8"], right["baseline-float32"] = base, right["baseline-int8"]
    assert not class_changes.table(judged(right)).significant.any()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (28, 320, [30, 50, 70, 100, 150, 200, 300]),
        (9, 2000, [10, 30, 100, 300, 1000]),
    ],
)
def test_log_ticks_are_round_and_few(low, high, expected):
    ticks = drawing.nice_log_ticks(low, high)
    assert ticks.tolist() == pytest.approx(expected)


def test_a_label_beyond_the_figure_is_left_out():
    for high, last in [(101_000, "50,000"), (300_000, "200,000")]:
        figure = drawing.new_figure(400, 200)
        axes = drawing.add_axes(figure, left=34, top=10, width=354, height=100)
        drawing.scale_x_logarithmically(axes, 6000, high)
        labels = axes.xaxis.get_major_formatter().seq
        assert labels[0] == "10,000"
        assert labels[-1] == last


def test_shorten_keeps_both_ends():
    short = drawing.shorten("prune+cluster+qat-int16x8", 90)
    assert drawing.text_size(short)[0] <= 90
    assert "…" in short
    assert short[:3] == "pru"
    assert short[-2:] == "x8"


def searching_stage(example, trials, **search):
    config = {"search": {"max_drop": 0.01, **search}}
    return dataclasses.replace(example.stages[1], config=config, levels=tuple(trials))


def test_the_levels_of_a_search_are_drawn_with_the_one_kept(example, make_run):
    tried = (
        LevelTrial(0.2, "clusters", 97, held=False, accuracy=0.86, drop=0.02),
        LevelTrial(0.1, "clusters", 158, held=True, accuracy=0.88, drop=0.0),
        LevelTrial(0.15, "clusters", 124, held=True, accuracy=0.875, drop=0.005),
    )

    def edit(made):
        stage = searching_stage(made, tried)
        return dataclasses.replace(made, stages=(made.stages[0], stage, made.stages[2]))

    drawn = {each.name: each for each in figures.draw_all(run.load(make_run(edit=edit)))}
    assert {"clusters", "holds", "too much", "kept", "01-prune"} <= _texts(drawn["levels"].wide)
    # Fewer clusters are further right.
    axes = level_chart.draw([searching_stage(example, tried)], width=340).axes[0]
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
    # 88% and no drop, less the point that is allowed.
    assert axes.lines[-1].get_ydata()[0] == pytest.approx(87.0)


def test_a_search_that_kept_nothing_is_not_drawn(example):
    tried = (LevelTrial(0.1, "energy", 0.9, held=True, note="nothing to gain"),)
    assert level_chart.searched([searching_stage(example, tried)]) == []
