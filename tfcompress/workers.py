"""Which processes train together, from `TF_CONFIG`, and whether they can reach one another.

Knows the form of that variable and sockets. Does not know what is trained. No TensorFlow here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

VARIABLE = "TF_CONFIG"
EXAMPLE = (
    '{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
WAIT_SECONDS = 300.0
"""How long a worker waits for the others by default: machines of a cluster start minutes apart."""
_TYPES = ("chief", "worker")
_PAUSE_SECONDS = 0.2


class ClusterError(ValueError):
    """A cluster that cannot be worked in. The message says why and what to do."""


@dataclass(frozen=True)
class Cluster:
    """The processes that train together.

    Attributes:
      addresses: `host:port` of each, the chief's first.
      index: of this process among them.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    @property
    def others(self) -> dict[int, str]:
        """The addresses of the other processes by their index."""
        return {i: address for i, address in enumerate(self.addresses) if i != self.index}

    @property
    def name(self) -> str:
        """This process as messages call it."""
        return f"worker {self.index} of {len(self.addresses)}" + " (the chief)" * self.is_chief


def read(environment: Mapping[str, str]) -> Cluster:
    """Reads `TF_CONFIG`.

    Args:
      environment: variables of the process, such as `os.environ`.

    Raises:
      ClusterError: it is missing, no JSON, or does not say who works and who this process is.

    Example:
      >>> found = read({"TF_CONFIG": EXAMPLE})
      >>> found.addresses, found.is_chief
      (('10.0.0.1:12345', '10.0.0.2:12345'), True)
    """
    text = environment.get(VARIABLE, "")
    if not text.strip():
        raise _wrong("It is not set.")
    try:
        record = json.loads(text)
    except ValueError as error:
        raise _wrong(f"It is no JSON ({error}). Received: {text:.200}") from error
    cluster, task = (_part(record, name) for name in ("cluster", "task"))
    foreign = [name for name in cluster if name not in _TYPES]
    if foreign:
        raise _wrong(f"Its cluster has the jobs {', '.join(foreign)}; known: {', '.join(_TYPES)}.")
    jobs = {kind: _addresses(cluster, kind) for kind in _TYPES if kind in cluster}
    if len(jobs.get("chief", ())) > 1:
        raise _wrong(f"There is one chief. Received: {', '.join(jobs['chief'])}.")
    addresses = tuple(address for kind in _TYPES for address in jobs.get(kind, ()))
    if not addresses:
        raise _wrong("Its cluster lists no worker.")
    if twice := [address for address in set(addresses) if addresses.count(address) > 1]:
        raise _wrong(f"Two workers have the address {twice[0]}.")
    kind = task.get("type")
    if kind not in jobs:
        raise _wrong(f"Its task is of type {kind!r}; the cluster has {', '.join(jobs)}.")
    index = _index(task.get("index"), len(jobs[kind]), kind)
    return Cluster(addresses, index + (len(jobs.get("chief", ())) if kind == "worker" else 0))


def _wrong(said: str) -> ClusterError:
    return ClusterError(
        f"{VARIABLE} must say which processes train together and which one this is. {said} "
        f"Set it in each process to JSON such as {EXAMPLE}, with an index of its own."
    )


def _part(record: Any, name: str) -> Mapping[str, Any]:
    found = record.get(name) if isinstance(record, dict) else None
    if not isinstance(found, dict):
        raise _wrong(f"It has no {name!r} that is an object. Received: {json.dumps(record):.200}")
    return found


def _addresses(cluster: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    listed = cluster[kind]
    if not isinstance(listed, list) or not listed:
        raise _wrong(f"Its {kind!r} is no list of addresses. Received: {json.dumps(listed):.200}")
    for address in listed:
        _host_and_port(address)
    return tuple(listed)


def _host_and_port(address: Any) -> tuple[str, int]:
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise _wrong(f"An address is host:port, with a port from 1 to 65535. Received: {address!r}")
    return host.strip("[]"), int(port)


def _index(value: Any, count: int, kind: str) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
        raise _wrong(f"Its index must be from 0 to {count - 1}, of {count} {kind}. Got: {value!r}.")
    return value


def meet(
    cluster: Cluster,
    *,
    wait_seconds: float = WAIT_SECONDS,
    told: Callable[[str], None] = lambda text: None,
) -> None:
    """Waits until every process of the cluster answers at its address.

    TensorFlow itself waits without end for one that never comes.

    Args:
      cluster: with this process in it.
      wait_seconds: for all of the others together.
      told: hears whom this process waits for, once.

    Raises:
      ClusterError: this process's port is taken, or another does not answer in time.
    """
    with _listening(cluster):
        missing, deadline = cluster.others, time.monotonic() + wait_seconds
        waiting = False
        while missing := {i: a for i, a in missing.items() if not _answers(a)}:
            if time.monotonic() > deadline:
                raise ClusterError(_unreached(missing, wait_seconds))
            if not waiting:
                told(f"{cluster.name}, waiting for {_listed(missing)}")
                waiting = True
            time.sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[None]:
    """Lets the others see that this process is there."""
    address = cluster.addresses[cluster.index]
    _, port = _host_and_port(address)
    both: dict[str, Any] = {"family": socket.AF_INET6, "dualstack_ipv6": True}
    try:
        door = socket.create_server(("", port), **(both if socket.has_dualstack_ipv6() else {}))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is taken by another process" if taken else f"cannot be used ({error})"
        raise ClusterError(
            f"Port {port} of {cluster.name} {reason}. Give another one for {address} in the "
            f"{VARIABLE} of every process, or end what holds it."
        ) from error
    with door:
        yield


def _answers(address: str) -> bool:
    try:
        with socket.create_connection(_host_and_port(address), timeout=1):
            return True
    except OSError:
        return False


def _listed(missing: Mapping[int, str]) -> str:
    return ", ".join(f"worker {index} at {address}" for index, address in missing.items())


def _unreached(missing: Mapping[int, str], seconds: float) -> str:
    return (
        f"No answer within {seconds:g} s from {_listed(missing)}. Start the same command there, "
        f"with its own index in {VARIABLE}, and see that the address can be reached from here."
    )
