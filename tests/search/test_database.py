"""Trials in a PostgreSQL database, where one can be started."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tfcompress.search import storage
from tfcompress.search.space import parse
from tfcompress.search.study import Study
from tfcompress.search_record import FINISHED, TrialRecord


def server_binaries():
    """Where PostgreSQL's programs lie: on the path, or in Debian's folder for them."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    return [*folders, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


@pytest.fixture(scope="module")
def url():
    """Of an empty database of a server of its own, reached by a socket in its folder."""
    binaries = [each for each in server_binaries() if (each / "initdb").exists()]
    if not binaries:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("PostgreSQL's driver is not installed: pip install psycopg2-binary")
    # Its server refuses to run as root.
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, "postgres", "postgres")
        data = str(folder / "data")

        def run(*words):
            command = [str(binaries[0] / words[0]), *words[1:]]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)

        run("initdb", "-D", data, "-A", "trust", "-U", "searcher", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
        try:
            yield f"postgresql+psycopg2://searcher@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def study(folder, url):
    return Study(
        name="a-search",
        space=parse(["prune({0.1..0.9})+{qat|int8}"]),
        known=(),
        folder=folder,
        url=url,
        sampler="tpe",
        objectives=2,
        trials=6,
        seed=0,
    )


def test_workers_share_trials_in_a_database(url, tmp_path):
    workers = [study(tmp_path, url), study(tmp_path, url)]
    recipes = []
    for worker in (*workers, *workers, *workers):
        claim = worker.claim()
        worker.tell(claim, TrialRecord(claim.number, claim.recipe, FINISHED), (0.1, 0.2))
        recipes.append(claim.recipe)
    assert len(set(recipes)) == 6
    assert all(worker.claim() is None and worker.is_complete for worker in workers)
    assert not (tmp_path / storage.JOURNAL).exists()


def test_a_server_that_is_gone_is_told_of(url, tmp_path):
    gone = url.replace("host=", f"host={tmp_path}/")
    with pytest.raises(storage.StorageError, match="cannot be reached: connection to server"):
        study(tmp_path, gone)
