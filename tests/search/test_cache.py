"""What one search takes of another that trained the same."""

import numpy as np
import pytest

from tfcompress import checkpoint, durable, stage_state
from tfcompress.config import RunConfig
from tfcompress.results import StageResult
from tfcompress.run_folder import DATA, RunFolder, RunFolderError
from tfcompress.search import cache

STAGE = "00-baseline"
RUN = RunConfig()


def trained(root, weights, *, to_its_end):
    """A run folder with a stage of these weights."""
    folder = RunFolder(root)
    stage = folder.stage(STAGE)
    stage_state.begin(stage, started_from="the same")
    with durable.whole_file(stage / checkpoint.BEST) as path:
        np.savez(path, weights=weights)
    if to_its_end:
        stage_state.conclude(stage, StageResult(name=STAGE, technique="baseline", config={}))
    else:
        (stage / checkpoint.CHECKPOINT).write_bytes(b"of the first epoch")
    return folder


def weights_of(folder):
    with np.load(folder.stage(STAGE) / checkpoint.BEST) as found:
        return found["weights"].tolist()


@pytest.fixture
def shared(tmp_path):
    """A cache that has the stage with weights [1.0]."""
    cache.give(trained(tmp_path / "theirs", [1.0], to_its_end=True), tmp_path / "cache", RUN)
    return tmp_path / "cache"


def test_a_stage_that_was_begun_here_gives_way_to_a_finished_one(shared, tmp_path):
    own = trained(tmp_path / "own", [0.5], to_its_end=False)
    cache.take(own, shared, RUN, data=own.root / DATA)
    assert stage_state.stored(own.stage(STAGE))
    assert weights_of(own) == [1.0]
    assert not (own.stage(STAGE) / checkpoint.CHECKPOINT).exists()


def test_a_stage_that_was_finished_here_stays(shared, tmp_path):
    own = trained(tmp_path / "own", [2.0], to_its_end=True)
    cache.take(own, shared, RUN, data=own.root / DATA)
    assert weights_of(own) == [2.0]


def test_what_is_there_is_not_replaced_by_what_is_given(shared, tmp_path):
    cache.give(trained(tmp_path / "late", [3.0], to_its_end=True), shared, RUN)
    own = RunFolder(tmp_path / "own")
    cache.take(own, shared, RUN, data=own.root / DATA)
    assert stage_state.stored(own.stage(STAGE))
    assert weights_of(own) == [1.0]


def test_a_damaged_stage_is_removed_from_the_cache_and_trained_again(shared, tmp_path):
    (damaged,) = shared.glob(f"*/stages/{STAGE}/{checkpoint.BEST}")
    damaged.unlink()
    damaged.write_bytes(b"half of it")
    own = RunFolder(tmp_path / "own")
    cache.take(own, shared, RUN, data=own.root / DATA)
    assert not own.stage(STAGE).exists()
    cache.give(trained(tmp_path / "anew", [4.0], to_its_end=True), shared, RUN)
    cache.take(own, shared, RUN, data=own.root / DATA)
    assert weights_of(own) == [4.0]


def test_what_was_trained_on_other_data_is_neither_taken_nor_mixed(tmp_path):
    theirs, own = (trained(tmp_path / n, [1.0], to_its_end=n == "theirs") for n in ("theirs", "b"))
    theirs.require_same_data({"train": "old"})
    own.require_same_data({"train": "new"})
    cache.give(theirs, tmp_path / "cache", RUN)
    with pytest.raises(RunFolderError, match=r"trained on other data: .* Give another --cache"):
        cache.take(own, tmp_path / "cache", RUN, data=own.root / DATA)
    with pytest.raises(RunFolderError, match="trained on other data"):
        cache.give(own, tmp_path / "cache", RUN)
    assert not stage_state.is_finished(own.stage(STAGE))


def test_other_settings_share_nothing(shared, tmp_path):
    own = RunFolder(tmp_path / "own")
    cache.take(own, shared, RunConfig(seed=1), data=own.root / DATA)
    assert not own.stage(STAGE).exists()
