import importlib.util

import pytest

from tfcompress.benchmark import MeasurementError
from tfcompress.studies import timer_agreement
from tfcompress.studies.timer_agreement import Agreement, AgreementConfig


def test_every_timer_has_its_turns_on_every_file(exported, tmp_path):
    models = {name: tmp_path / f"{name}.tflite" for name in ("float32", "int8")}
    for name, path in models.items():
        exported(name).save(path)
    seen = []
    found = timer_agreement.measure(
        models, AgreementConfig(repeats=2, seconds=0.01), progress=lambda *what: seen.append(what)
    )
    timers = 3 if importlib.util.find_spec("ai_edge_litert.tools") else 2
    assert seen == [(number, 4 * timers) for number in range(1, 4 * timers + 1)]
    for each, name in zip(found, models, strict=True):
        assert each.model == name
        assert len(each.ours) == len(each.loop) == 2
        assert min(*each.ours, *each.loop) > 0
        # Of the same order even on a machine that does much else.
        assert 0.1 < each.ratio("loop") < 10


def test_table_by_hand():
    found = (
        Agreement("a", ours=(1.0, 2.2, 3.0), loop=(1.0, 2.0, 4.0), tool=(0.8, 2.2, 3.0)),
        Agreement("b", ours=(2.0,), loop=(1.6,)),
    )
    assert timer_agreement.table_lines(found)[2:] == [
        # The ratios of the repeats are 1, 1.1 and 0.75.
        "| a | 2.200 | 2.000 | 1.000 | 2.200 | 1.000 |",
        "| b | 2.000 | 1.600 | 1.250 | - | - |",
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"threads": 0}, "threads must be"),
        ({"repeats": 0}, "repeats must be"),
        ({"seconds": 0}, "seconds must be greater than 0"),
    ],
)
def test_config_refuses(settings, said):
    with pytest.raises(ValueError, match=said):
        AgreementConfig(**settings)


def test_a_file_that_is_no_model_is_told(tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(MeasurementError, match="cannot be loaded"):
        timer_agreement.measure({"bad": path}, AgreementConfig(repeats=1))
