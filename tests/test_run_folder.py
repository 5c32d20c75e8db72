"""Who may write into the folder of a run."""

import dataclasses
import subprocess
import sys

import pytest

from tfcompress import durable
from tfcompress.run_folder import RunFolder, RunFolderError

CONFIG = {"seed": 0, "training": {"epochs": 3}}


def test_a_new_folder_is_made_and_claimed(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run")
    with folder.open_for(CONFIG):
        assert durable.read_json(folder.root / "config.json") == CONFIG


def test_the_same_settings_may_go_on(tmp_path):
    for _ in range(2):
        with RunFolder(tmp_path / "run").open_for(CONFIG):
            pass


def test_other_settings_are_refused_and_named(tmp_path):
    with RunFolder(tmp_path).open_for(CONFIG):
        pass
    other = {"seed": 0, "training": {"epochs": 4}}
    with (
        pytest.raises(RunFolderError, match=r"other settings:\n  training\.epochs: 3 -> 4\n"),
        RunFolder(tmp_path).open_for(other),
    ):
        pass
    assert durable.read_json(tmp_path / "config.json") == CONFIG


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with (
        pytest.raises(RunFolderError, match="not the folder of a run"),
        RunFolder(tmp_path).open_for(CONFIG),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_killed_before_its_config_was_written_does_not_block_the_folder(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".config-x1y2.json").write_text("{")
    with RunFolder(tmp_path).open_for(CONFIG):
        pass
    assert durable.read_json(tmp_path / "config.json") == CONFIG


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunFolderError, match=r"cannot be written .*--output_dir"),
        RunFolder(tmp_path / "file" / "run").open_for(CONFIG),
    ):
        pass


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunFolderError, match="cannot be written"),
        RunFolder(tmp_path / "file").open_for(CONFIG),
    ):
        pass


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with (
        pytest.raises(ValueError, match=r"config\.json is not valid JSON"),
        RunFolder(tmp_path).open_for(CONFIG),
    ):
        pass


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path):
    program = (
        "import sys\n"
        "from tfcompress.run_folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).open_for({'seed': 0}):\n"
        "    print('open', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "open\n"
        with (
            pytest.raises(RunFolderError, match="Another run is at work"),
            RunFolder(tmp_path).open_for({"seed": 0}),
        ):
            pass
        # Killed, not ended: the lock goes with the process.
        other.kill()
    with RunFolder(tmp_path).open_for({"seed": 0}):
        pass


def test_an_error_within_gives_the_folder_back(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), RunFolder(tmp_path).open_for(CONFIG):
        raise RuntimeError("stop")
    with RunFolder(tmp_path).open_for(CONFIG):
        pass


def test_places():
    folder = RunFolder("runs/a")
    assert folder.artifact("prune-int8").as_posix() == "runs/a/artifacts/prune-int8.tflite"
    assert folder.predictions("x").as_posix() == "runs/a/predictions/x.npz"
    assert folder.stage("00-baseline").as_posix() == "runs/a/stages/00-baseline"
    assert folder.relative(folder.artifact("x")) == "artifacts/x.tflite"


def test_settings_refused_before_any_work_leave_the_folder_free(tmp_path):
    folder = RunFolder(tmp_path / "run")

    def refused():
        with folder.open_for({"a": 1}):
            (folder.root / "environment.json").write_text("{}")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        refused()
    with folder.open_for({"a": 2}):
        folder.stage("00-baseline").mkdir(parents=True)
    with pytest.raises(ValueError, match="a: 2 -> 1"), folder.open_for({"a": 1}):
        pass


@dataclasses.dataclass(frozen=True)
class Kept:
    value: int


def test_a_kept_value_is_made_again_for_another_key_or_when_damaged(tmp_path):
    folder, path = RunFolder(tmp_path), tmp_path / "kept.json"
    made = []

    def make():
        made.append(1)
        return Kept(len(made))

    assert folder.kept(path, "a", Kept, make) == Kept(1)
    assert folder.kept(path, "a", Kept, make) == Kept(1)
    assert folder.kept(path, "b", Kept, make) == Kept(2)
    for damage in ("[]", "{}", "{", '{"key": "b", "value": {}}'):
        path.write_text(damage)
        folder.kept(path, "b", Kept, make)
    assert len(made) == 6


def test_changed_data_are_refused(tmp_path):
    folder = RunFolder(tmp_path)
    folder.require_same_data({"train": "a", "test": "b"})
    folder.require_same_data({"train": "a", "test": "b"})
    with pytest.raises(RunFolderError, match="test differ"):
        folder.require_same_data({"train": "a", "test": "c"})


def test_what_a_study_has_kept_already_is_not_orphaned(tmp_path):
    def refused():
        with RunFolder(tmp_path).open_for(CONFIG):
            (tmp_path / "predictions").mkdir()
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        refused()
    # The folder is still that of the same settings.
    with RunFolder(tmp_path).open_for(CONFIG):
        pass


def test_a_file_is_made_again_where_it_was_made_for_something_else_or_changed(tmp_path):
    folder, path, made = RunFolder(tmp_path), tmp_path / "files" / "a.txt", []

    def make(target):
        made.append(target)
        target.write_text(f"number {len(made)}")

    folder.keep_file(path, "one", make)
    folder.keep_file(path, "one", make)
    assert len(made) == 1
    path.write_text("damaged")
    folder.keep_file(path, "one", make)
    path.unlink()
    folder.keep_file(path, "one", make)
    folder.keep_file(path, "two", make)
    assert len(made) == 4
    assert path.read_text() == "number 4"


def test_a_folder_at_work_can_be_looked_into(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.open_for(CONFIG):
        RunFolder(tmp_path).require_settings(CONFIG)
        with pytest.raises(RunFolderError, match=r"seed: 0 -> 1"):
            RunFolder(tmp_path).require_settings({**CONFIG, "seed": 1})
    with pytest.raises(RunFolderError, match="is not the folder of a run: it has no config"):
        RunFolder(tmp_path / "none").require_settings(CONFIG)


def test_what_was_kept_is_found_without_making_it(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Value:
        number: int

    folder, path = RunFolder(tmp_path), tmp_path / "value.json"
    assert folder.found(path, "key", Value) is None
    folder.kept(path, "key", Value, lambda: Value(3))
    assert folder.found(path, "key", Value) == Value(3)
    assert folder.found(path, "other", Value) is None
    path.write_text("{")
    assert folder.found(path, "key", Value) is None
