"""Locks that end with the process that holds them."""

import signal
import subprocess
import sys

from tfcompress import file_locks

HOLD = """
import sys, time
from tfcompress import file_locks
assert file_locks.take(sys.argv[1]) is not None
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_is_held_by_one_taker(tmp_path):
    path = tmp_path / "lock"
    lock = file_locks.take(path)
    assert file_locks.take(path) is None
    lock.release()
    lock.release()
    with file_locks.held(path):
        assert file_locks.take(path) is None
    assert file_locks.take(path) is not None


def test_a_shared_lock_keeps_out_whoever_wants_it_alone(tmp_path):
    path = tmp_path / "lock"
    first, second = (file_locks.take(path, shared=True) for _ in range(2))
    assert file_locks.take(path) is None
    first.release()
    assert file_locks.take(path) is None
    second.release()
    alone = file_locks.take(path)
    assert file_locks.take(path, shared=True) is None
    alone.release()


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        assert file_locks.take(path) is None
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert file_locks.take(path) is not None
