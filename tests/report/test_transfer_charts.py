"""The figures of a transfer study: what stands on them, and what is not drawn."""

from xml.etree import ElementTree

import pytest

from tfcompress.report import transfer_charts
from tfcompress.transfer import ModelSizes, TransferStudy, Trial, TrialResult

SIZES = ModelSizes(1000, 2_500_000, 800, 160, 12)
UP = {"compression": "prune(0.8)", "order": "upstream"}


def study(*trials, frozen_compressions=("none",)):
    found = tuple(
        TrialResult(trial, accuracy, accuracy, 100, SIZES, 30, 7680, 4, 512, 0, 0, 16, 1.0, "a")
        for trial, accuracy in trials
    )
    config = {"parts": ["a", "b", "c", "d"], "frozen_compressions": list(frozen_compressions)}
    return TransferStudy(found, len(found), config, {})


def trial(seed, **options):
    return Trial("net", "digits", seed, **options)


def texts(svg):
    return [text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()]


def test_orders_have_a_row_for_each_comparison():
    down = {**UP, "order": "downstream"}
    found = study(*((trial(s, **o), 0.5 + s / 10) for o in (UP, down) for s in (0, 1)))
    shown = texts(transfer_charts.order_svg(found))
    assert {"net, on digits", "prune(0.8)"} <= set(shown)


def test_ranks_show_accuracies_on_both_sides():
    found = study(
        (trial(0), 0.95),
        (trial(0, **UP), 0.9),
        (trial(0, frozen=1.0), 0.3),
        (trial(0, **UP, frozen=1.0), 0.4),
    )
    shown = texts(transfer_charts.regime_svg(found))
    # The compressed one is ahead under the probe, behind after a full fine-tune.
    ordered = [text for text in shown if text[0].isdigit() or text[-1].isdigit()]
    assert ordered == ["prune(0.8)  40.0", "none  30.0", "95.0", "90.0"]


def test_curves_are_drawn_over_the_seeds_that_all_shares_have():
    found = study(
        *((trial(seed, frozen=share), 0.5) for seed in (0, 1) for share in (0.0, 0.5)),
        (trial(0, frozen=1.0), 0.4),
    )
    shown = texts(transfer_charts.frozen_svg(found))
    assert {"not compressed", "net, on digits", "layers frozen, %", "accuracy, %"} <= set(shown)
    (panel,) = transfer_charts.curves(found).values()
    assert {share: list(one) for share, one in panel["none"].items()} == {
        0.0: [0],
        0.5: [0],
        1.0: [0],
    }


@pytest.mark.parametrize("name", list(transfer_charts.FIGURES))
def test_what_has_no_results_has_no_figure(name):
    with pytest.raises(transfer_charts.NothingToDraw, match="nothing to draw"):
        transfer_charts.FIGURES[name](study((trial(0), 0.9)))
