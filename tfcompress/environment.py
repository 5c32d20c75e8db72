"""What a run was made on: versions, processor, memory, threads, GPU, commit.

Knows how to read them with no TensorFlow and no compiled package. Leaves out what tells who and
where: no host name, no user name, no path. Does not know what the figures are used for.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import tfcompress

PACKAGES = (
    "ai-edge-litert",
    "jinja2",
    "matplotlib",
    "numpy",
    "onnxruntime",
    "scipy",
    "tensorflow",
    "tensorflow-datasets",
    "tensorflow-model-optimization",
    "tf2onnx",
    "tf_keras",
)
INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_fp16", "amx_int8", "amx_fp16"),
    *("asimddp", "asimdhp", "i8mm", "sve", "sve2", "sme", "sme2"),
)
"""Instruction sets, as Linux names them, by which XNNPACK chooses other kernels for a layer."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# A driver that hangs must not hang the run.
COMMAND_SECONDS = 10


def collect() -> dict[str, Any]:
    """Reads the environment of this process.

    Returns:
      JSON-ready: `python`, `platform`, `packages` (name -> version, None where not installed),
      `processor` (`name`, `architecture`, `instructions` (those of `INSTRUCTIONS` that it has),
      `logical_cores` of the machine, `usable_cores` of this process), `memory_bytes`, `threads`
      (variable -> value, None where unset), `gpus` (a list of `name`, `driver`, `memory_bytes`;
      empty where there is none), `commit` and `modified`. What cannot be read is None.
    """
    commit, modified = _commit(Path(__file__).parent)
    processor = _cpuinfo()
    return {
        "tfcompress": tfcompress.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "processor": {
            "name": parse_cpuinfo(processor) or platform.processor() or None,
            "architecture": platform.machine(),
            "instructions": parse_instructions(processor),
            "logical_cores": os.cpu_count(),
            "usable_cores": _usable_cores(),
        },
        "memory_bytes": _memory_bytes(),
        "threads": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "gpus": _gpus(),
        "commit": commit,
        "modified": modified,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpuinfo() -> list[str]:
    """What the kernel tells of the processors; `platform.processor()` is empty on most of Linux."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def parse_cpuinfo(lines: list[str]) -> str | None:
    """The processor's name out of the lines of `/proc/cpuinfo`; None where it is not told.

    Args:
      lines: of the file, without line ends.

    Example:
      >>> parse_cpuinfo(["processor : 0", "model name : Some CPU  @ 2 GHz"])
      'Some CPU @ 2 GHz'
    """
    for key in ("model name", "Model", "Hardware"):
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key and value.strip():
                return " ".join(value.split())
    return None


def parse_instructions(lines: list[str]) -> list[str] | None:
    """Those of `INSTRUCTIONS` that every processor has; None where they are not told.

    Args:
      lines: of `/proc/cpuinfo`, without line ends.

    Example:
      >>> parse_instructions(["model name : Some CPU", "flags : fpu avx2 avx512f rtm"])
      ['avx2', 'avx512f']
    """
    fields = (line.partition(":") for line in lines)
    # Of x86 and of ARM; a chip of unlike cores lists each.
    told = [set(value.split()) for key, _, value in fields if key.strip() in ("flags", "Features")]
    if not told:
        return None
    return [name for name in INSTRUCTIONS if all(name in each for each in told)]


def _usable_cores() -> int | None:
    """Cores open to this process; a container or `taskset` can hold them below the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _gpus() -> list[dict[str, Any]] | None:
    """NVIDIA GPUs by the driver's own tool; empty without it, None where it fails."""
    if shutil.which("nvidia-smi") is None:
        return []
    fields = "--query-gpu=name,driver_version,memory.total"
    text = _output(["nvidia-smi", fields, "--format=csv,noheader,nounits"])
    return None if text is None else parse_nvidia_smi(text)


def parse_nvidia_smi(text: str) -> list[dict[str, Any]]:
    """Reads what `nvidia-smi` prints as CSV of name, driver and memory; skips other lines.

    Args:
      text: one line a GPU; memory in MiB.

    Example:
      >>> parse_nvidia_smi("Tesla X, 550.1, 16384")[0]["memory_bytes"]
      17179869184
    """
    gpus = []
    for line in (line for line in text.splitlines() if line.count(",") >= 2):
        name, driver, memory = (part.strip() for part in line.rsplit(",", 2))
        megabytes = int(memory) if memory.isdigit() else None
        gpus.append(
            {
                "name": name,
                "driver": driver,
                "memory_bytes": None if megabytes is None else megabytes * 2**20,
            }
        )
    return gpus


def _commit(folder: Path) -> tuple[str | None, bool | None]:
    """(commit, modified) of the checkout that holds the package; (None, None) outside of one.

    A package installed inside another project's checkout is not tracked there and has no commit.
    """
    if shutil.which("git") is None:
        return None, None
    git = ["git", "-C", str(folder)]
    if _output([*git, "ls-files", "--error-unmatch", Path(__file__).name]) is None:
        return None, None
    commit = _output([*git, "rev-parse", "HEAD"])
    status = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    return (commit.strip() if commit else None), (None if status is None else bool(status.strip()))


def _output(command: list[str]) -> str | None:
    """Standard output of a command, None where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=COMMAND_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
