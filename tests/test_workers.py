"""Which processes train together: what TF_CONFIG may say, and whether they answer."""

import json
import socket
import threading
import time

import pytest

from tfcompress import workers
from tfcompress.workers import Cluster, ClusterError, meet, read

TWO = ["a:1", "b:2"]


def given(record):
    return {"TF_CONFIG": record if isinstance(record, str) else json.dumps(record)}


def cluster(jobs, **task):
    return given({"cluster": jobs, "task": task})


def test_the_first_worker_is_the_chief():
    found = read(cluster({"worker": TWO}, type="worker", index=0))
    assert found == Cluster(("a:1", "b:2"), 0)
    assert found.is_chief
    assert found.others == {1: "b:2"}
    other = read(cluster({"worker": TWO}, type="worker", index="1"))
    assert (other.is_chief, other.name) == (False, "worker 1 of 2")


def test_a_chief_of_its_own_comes_before_the_workers():
    jobs = {"worker": TWO, "chief": ["c:3"]}
    assert read(cluster(jobs, type="chief", index=0)) == Cluster(("c:3", "a:1", "b:2"), 0)
    assert read(cluster(jobs, type="worker", index=0)) == Cluster(("c:3", "a:1", "b:2"), 1)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "It is not set"),
        (given(" "), "It is not set"),
        (given("{worker: a:1}"), "It is no JSON"),
        (given("[]"), "no 'cluster' that is an object"),
        (given({"cluster": {"worker": TWO}}), "no 'task' that is an object"),
        (given({"cluster": TWO, "task": {}}), "no 'cluster'"),
        (cluster({}, type="worker", index=0), "lists no worker"),
        (cluster({"worker": []}, type="worker", index=0), "no list of addresses"),
        (cluster({"worker": "a:1"}, type="worker", index=0), "no list of addresses"),
        (cluster({"worker": ["a"]}, type="worker", index=0), "host:port"),
        (cluster({"worker": ["a:0"]}, type="worker", index=0), "from 1 to 65535"),
        (cluster({"worker": ["a:70000"]}, type="worker", index=0), "from 1 to 65535"),
        (cluster({"worker": [7]}, type="worker", index=0), "Received: 7"),
        (cluster({"worker": ["a:1", "a:1"]}, type="worker", index=0), "have the address a:1"),
        (cluster({"worker": TWO, "ps": ["c:3"]}, type="worker", index=0), "jobs ps"),
        (cluster({"chief": TWO}, type="chief", index=0), "one chief"),
        (cluster({"worker": TWO}, index=0), "of type None; the cluster has worker"),
        (cluster({"worker": TWO}, type="chief", index=0), "of type 'chief'"),
        (cluster({"worker": TWO}, type="worker"), "from 0 to 1, of 2 worker. Got: None"),
        (cluster({"worker": TWO}, type="worker", index=2), "from 0 to 1, of 2 worker. Got: 2"),
        (cluster({"worker": TWO}, type="worker", index=-1), "Got: -1"),
        (cluster({"worker": TWO}, type="worker", index=True), "Got: True"),
    ],
)
def test_what_does_not_say_who_works_is_refused(environment, says):
    with pytest.raises(ClusterError) as error:
        read(environment)
    assert says in str(error.value)
    # What it should read like.
    assert workers.EXAMPLE in str(error.value)


def test_workers_that_start_one_after_the_other_meet(free_addresses):
    addresses, met, told, done = free_addresses(3), [], [], threading.Event()

    def work(index):
        meet(Cluster(addresses, index), wait_seconds=20, told=told.append)
        # As TensorFlow does, listen where the others still look for this one.
        with socket.create_server(("127.0.0.1", port(addresses[index]))):
            met.append(index)
            done.wait(20)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads[:2]:
        thread.start()
    while len(told) < 2:
        time.sleep(0.01)
    assert not met
    threads[2].start()
    while len(met) < 3:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(met) == [0, 1, 2]
    assert all(f"worker 2 at {addresses[2]}" in text for text in told[:2])


def port(address):
    return int(address.rpartition(":")[2])


def test_a_port_that_is_taken_is_told(free_addresses):
    addresses = free_addresses(2)
    with socket.create_server(("", port(addresses[0]))), pytest.raises(ClusterError) as error:
        meet(Cluster(addresses, 0), wait_seconds=5)
    assert f"Port {port(addresses[0])} of worker 0 of 2 (the chief) is taken" in str(error.value)


def test_a_worker_that_does_not_answer_is_named(free_addresses):
    addresses = free_addresses(2)
    with pytest.raises(ClusterError) as error:
        meet(Cluster(addresses, 0), wait_seconds=0.1)
    assert f"No answer within 0.1 s from worker 1 at {addresses[1]}" in str(error.value)


def test_one_worker_waits_for_nobody(free_addresses):
    meet(Cluster(free_addresses(1), 0), wait_seconds=0)
