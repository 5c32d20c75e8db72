"""Which trials a transfer study has, in which order, and what is refused."""

import dataclasses
import itertools

import pytest

from tfcompress import backbones
from tfcompress.backbones import BackboneConfig
from tfcompress.studies import transfer_plan
from tfcompress.studies.transfer_plan import Pair, TransferConfig, TransferSettings, trials

RESNET = BackboneConfig(name="resnet8")
PAIRS = (Pair(RESNET, "mnist_sample"),)


def config(**options):
    given = {"pairs": PAIRS, "compressions": ("prune(0.8)", "cluster(16)"), "seeds": (0, 1)}
    return TransferConfig(**{**given, **options})


def told(found):
    return [(t.compression, t.order, t.frozen) for t in found]


def test_part_a_has_both_orders_and_the_whole_backbone():
    found = trials(config(parts=("a",), seeds=(0,)))
    assert told(found) == [
        ("none", "none", 0.0),
        ("prune(0.8)", "upstream", 0.0),
        ("cluster(16)", "upstream", 0.0),
        ("prune(0.8)", "downstream", 0.0),
        ("cluster(16)", "downstream", 0.0),
    ]


def test_parts_b_and_c_ask_for_the_same_trials():
    both = trials(config(parts=("b", "c"), seeds=(0,)))
    assert (
        both == trials(config(parts=("b",), seeds=(0,))) == trials(config(parts=("c",), seeds=(0,)))
    )
    assert {t.regime for t in both} == {"full", "linear_probe"}
    only = trials(config(parts=("b",), regimes=("linear_probe",), seeds=(0,)))
    assert {t.frozen for t in only} == {1.0}


def test_part_d_takes_each_share_of_each_compression():
    options = {"parts": ("d",), "seeds": (0,), "frozen": (0.0, 0.5)}
    found = trials(config(**options, frozen_compressions=("none", "cluster(16)")))
    assert told(found) == [
        ("none", "none", 0.0),
        ("none", "none", 0.5),
        ("cluster(16)", "upstream", 0.0),
        ("cluster(16)", "upstream", 0.5),
    ]


def test_no_trial_stands_twice_and_seeds_follow_one_another():
    found = trials(config())
    assert len(set(found)) == len(found)
    seeds = [trial.seed for trial in found]
    # Once through the seeds for parts a, b and c, once for part d.
    assert [seed for seed, _ in itertools.groupby(seeds)] == [0, 1, 0, 1]


def test_file_names_tell_trials_apart():
    other = dataclasses.replace(RESNET, image_size=16)
    second = Pair(other, "mnist_sample", upstream="cifar10_sample")
    found = trials(config(pairs=(*PAIRS, second)))
    names = [transfer_plan.file_name(trial) for trial in found]
    assert len(set(names)) == len(found)
    assert "resnet8-32-px_mnist_sample_prune-0.8_upstream_frozen-0.25_seed-1" in names


def test_the_head_is_left_as_it_is():
    first, second = transfer_plan.stages_of("prune(0.8, skip=conv1)+cluster(16)")
    assert first.config.skip == f"conv1|{backbones.HEAD}"
    assert second.config.skip == backbones.HEAD
    assert transfer_plan.stages_of("none") == ()


def test_pairs_from_texts():
    found = transfer_plan.pairs(
        ["resnet8@mnist_sample", "MobileNet:0.25"],
        ["mnist_sample", "cifar10_sample"],
        upstream=["resnet8=cifar10_sample"],
        image_size=64,
    )
    assert [(pair.label, pair.target, pair.upstream) for pair in found] == [
        ("resnet8, 64 px", "mnist_sample", "cifar10_sample"),
        ("MobileNet 0.25, 64 px", "mnist_sample", ""),
        ("MobileNet 0.25, 64 px", "cifar10_sample", ""),
    ]


def test_texts_are_refused(reviews):
    with pytest.raises(
        ValueError, match=r"study of transfers takes images. Received: data set 'tex"
    ):
        Pair(RESNET, f"text:{reviews}")


def test_a_label_tells_weights_of_ones_own(tmp_path):
    path = tmp_path / "own.npz"
    path.touch()
    own = dataclasses.replace(RESNET, weights=str(path))
    assert Pair(own, "mnist_sample").label == f"resnet8, 32 px, {path}"
    named = dataclasses.replace(RESNET, weights="cifar10")
    assert Pair(named, "mnist_sample").label == "resnet8, 32 px"


@pytest.mark.parametrize(
    ("backbone", "options", "says"),
    [
        ("resnet9", {}, "Unknown backbone: 'resnet9'"),
        ("MobileNet:wide", {}, "NAME, NAME:WIDTH or NAME:WIDTH:SIZE. Received: 'MobileNet:wide'"),
        ("resnet8@mnist_simple", {}, "Unknown data set: 'mnist_simple'"),
        ("lenet5", {}, "A transfer needs pretrained weights. Received: lenet5"),
        ("resnet8@cifar10", {}, "resnet8 was trained on cifar10 already: no transfer"),
        ("resnet8", {"upstream": ["resnet8=mnist_sample"]}, "on mnist_sample already"),
        ("resnet8", {"upstream": ["cifar10"]}, "BACKBONE=DATASET, .* Received: 'cifar10'"),
        ("resnet8", {"upstream": ["lenet5=mnist"]}, "none of the study's: lenet5"),
    ],
)
def test_pairs_that_are_no_transfer_are_refused(backbone, options, says):
    with pytest.raises(ValueError, match=says):
        transfer_plan.pairs([backbone], ["mnist_sample"], **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pairs": ()}, r"pairs takes one or more, each once. Received: \[\]"),
        (
            {"pairs": (*PAIRS, Pair(RESNET, "mnist_sample", upstream="cifar10_sample"))},
            "name a backbone and target twice: resnet8, 32 px, on mnist_sample",
        ),
        ({"seeds": (0, 0)}, r"seeds takes one or more, each once. Received: \[0, 0\]"),
        ({"seeds": (-1,)}, r"Seeds are 0 or more. Received: \[-1\]"),
        ({"parts": ("e",)}, "Unknown part: 'e'. Known: a, b, c, d"),
        ({"regimes": ("half",)}, "Unknown regime: 'half'. Known: linear_probe, full"),
        ({"frozen": (0.0, 50.0)}, r"fractions in \[0, 1\]. Received: 50.0. For 50% pass 0.5"),
        ({"compressions": ("none",)}, "held against none, which is always there"),
        ({"compressions": ("shrink",)}, "unknown technique 'shrink'"),
        ({"compressions": ("prune(80)",)}, "For 80% sparsity pass 0.8"),
        ({"compressions": ("qat",)}, "'qat' has no place before a transfer: qat. Take prune_chan"),
        ({"compressions": ("prune+int8",)}, "no place before a transfer: int8"),
        ({"compressions": ("prune(0.8, epochs=3)",)}, "says how it is trained. Leave out epochs"),
        ({"compressions": ("prune(0.8, reestimate=true)",)}, "all trials of a study are trained"),
        ({"compressions": ("prune(allocation=sensitivity)",)}, "only a run finds out first"),
        (
            {"compressions": ("prune_channels+prune+cluster",)},
            "shares 2 epochs among 3 stages. Take compression_epochs that are a multiple",
        ),
        (
            {"frozen_compressions": ("prune(0.9)",)},
            r"among the compressions .*Received: prune\(0.9",
        ),
    ],
)
def test_studies_that_make_no_sense_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        config(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"compression_epochs": 4}, "part of epochs: at least 1, and less. Received: 4 of 4"),
        ({"compression_epochs": 0}, "Received: 0 of 4"),
        ({"probe_epochs": 0}, "probe_epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"max_train": -1}, "max_train must be an integer, 0 or more"),
        ({"upstream_max_train": -1}, "max_train must be an integer, 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        TransferSettings(**options)
