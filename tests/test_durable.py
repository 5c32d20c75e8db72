"""Files appear whole or not at all."""

import hashlib
import subprocess
import sys

import pytest

from tfcompress import durable


def test_bytes_text_and_json_come_back(tmp_path):
    durable.write_bytes(tmp_path / "new" / "b", b"\x00\x01")
    durable.write_text(tmp_path / "t", "grün")
    durable.write_json(tmp_path / "j", {"a": [1, None, 0.5]})
    assert (tmp_path / "new" / "b").read_bytes() == b"\x00\x01"
    assert (tmp_path / "t").read_text(encoding="utf-8") == "grün"
    assert durable.read_json(tmp_path / "j") == {"a": [1, None, 0.5]}


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    durable.write_text(path, "old")

    def fail():
        with durable.whole_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    durable.write_text(path, "old")
    program = (
        "import os, signal, sys\n"
        "from tfcompress import durable\n"
        "with durable.whole_file(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"


def test_the_temporary_file_keeps_the_suffix(tmp_path):
    """A name without .npz would get it from numpy, and the rename would miss the file."""
    with durable.whole_file(tmp_path / "a.npz") as temporary:
        assert temporary.suffix == ".npz"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_such_numbers(tmp_path, number):
    with pytest.raises(ValueError, match="JSON"):
        durable.write_json(tmp_path / "j", {"a": number})
    assert list(tmp_path.iterdir()) == []


def test_truncated_json_is_named(tmp_path):
    (tmp_path / "j.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"j\.json is not valid JSON .* truncated"):
        durable.read_json(tmp_path / "j.json")


def test_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    # The value that FIPS 180-2 gives for "abc".
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert durable.sha256(b"abc") == expected == hashlib.sha256(b"abc").hexdigest()
    assert durable.sha256_of_file(tmp_path / "f") == expected


def test_parallel_processes_read_one_whole_version(tmp_path):
    """Two writers of one path: what stands there is the work of one, never a mix."""
    path = tmp_path / "f"
    program = (
        "import sys\n"
        "from tfcompress import durable\n"
        "for _ in range(50): durable.write_bytes(sys.argv[1], sys.argv[2].encode() * 100_000)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(path), letter]) for letter in "ab"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 100_000
            seen.add(bytes(set(data)))
    assert all(writer.returncode == 0 for writer in writers)
    assert seen <= {b"a", b"b"}
    assert [item.name for item in tmp_path.iterdir()] == ["f"]
