"""What proves that a graph ran on a GPU: LiteRT's own words, and outputs held against the CPU's.

Knows the text that LiteRT's GPU accelerator (WebGPU, by Dawn) writes to descriptor 2, and when two
sets of outputs are of the same computation. Starts nothing and reads no file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.litert import TensorDetails

UNNAMED = "(not named by LiteRT)"
"""Stands for an operator that stays on the processor and that LiteRT counts but does not name."""

# Dawn also has a backend "Null", which computes nothing.
_BACKENDS = ("Vulkan", "Metal", "D3D12")
_TYPES = ("Discrete GPU", "Integrated GPU", "Virtual GPU")
# They are of the type that their driver claims; these are software whatever they claim.
_SOFTWARE_NAMES = ("llvmpipe", "lavapipe", "swiftshader", "softpipe", "basic render")
_ADAPTER = re.compile(
    r"Selected adapter: (?P<name>.*?), arch=(?P<architecture>[^,]*), vendor=(?P<vendor>[^,]*), "
    r"backend=(?P<backend>[^,]*), adapterType=(?P<type>.*)"
)
_NOT_SUPPORTED = "Following operations are not supported by GPU delegate:"
_REMAINING = re.compile(r"(?:the remaining|and all) (\d+) operations will run on the CPU")
_EXCLUDED = re.compile(r"Excluding node (\d+) ")
_MISBUILT = "Shape mismatch in GpuModelBuilder"
# Lines of every start that explain nothing.
_NOISE = (
    "_registry.cc",
    "environment.cc:36",
    "environment.cc:47",
    "compiler_plugin.cc",
    "compiled_model.cc:829",
    "libopenvino",
    "Logging before InitGoogle",
    "artificially reduced",
    "Benchmark mode is enabled",
    "Create WebGPU environment",
    "Created a WebGPU environment",
    "Created LiteRT GpuEnvironment",
    "Initializing WebGPU-based API",
    "Source Location Trace",
    "third_party/",
    "# of threads to",
    "libOpenCL",
    "plugin",
)
_LINES_QUOTED = 8

# Relative, by arithmetic and whether the file is quantized. Seen on networks with untrained heads:
# float32 4e-6; quantized 0.014 to 0.028, since the CPU rounds activations where the GPU does not;
# float16 0.02, quantized 0.055. Graphs that were built wrong: 0.07 and 0.11.
TOLERANCES = {
    ("float32", False): 1e-3,
    ("float32", True): 0.05,
    ("float16", False): 0.05,
    ("float16", True): 0.1,
}
# Below this, outputs are taken for zero. What half precision loses above it (from 6e-5 down) is
# lost in truth.
_FLOOR = 1e-9
# The offset that all outputs share says little of the network; with fewer outputs it is all there
# is.
_FEW = 4


class ProofError(RuntimeError):
    """It is not proved that the graph ran on a GPU as asked. The message quotes the reason."""


@dataclass(frozen=True)
class Adapter:
    """What LiteRT's GPU accelerator runs on, in its own words.

    Attributes:
      name: of the device, such as `"NVIDIA H200"`.
      architecture: such as `"hopper"`; empty where it says none.
      vendor: such as `"nvidia"`.
      backend: such as `"Vulkan"`.
      type: such as `"Discrete GPU"` or `"CPU / Software"`.
    """

    name: str
    architecture: str
    vendor: str
    backend: str
    type: str

    @property
    def hardware(self) -> bool:
        """Whether every word of it says that it is a GPU."""
        claims = self.type in _TYPES and self.backend in _BACKENDS
        named = any(word in self.name.lower() for word in _SOFTWARE_NAMES)
        return claims and not named and self.architecture.lower() != "software"


def find_adapter(said: str) -> Adapter | None:
    """The adapter that LiteRT selected last, read from what it wrote to descriptor 2.

    Example:
      >>> find_adapter(
      ...     "Selected adapter: A, arch=, vendor=b, backend=Vulkan, adapterType=CPU"
      ... ).hardware
      False
    """
    found = [match for line in said.splitlines() if (match := _ADAPTER.search(line))]
    if not found:
        return None
    return Adapter(**{name: value.strip() for name, value in found[-1].groupdict().items()})


def require_adapter(said: str, *, software: bool) -> Adapter:
    """The adapter, if it is one that was asked for.

    Args:
      said: what LiteRT wrote to descriptor 2.
      software: whether a software rasterizer will do.

    Raises:
      ProofError: none is named, or it is no hardware and `software` is false.
    """
    adapter = find_adapter(said)
    if adapter is None:
        raise ProofError(
            "LiteRT compiled the graph for the GPU but named no adapter, so that nothing proves on "
            f"which device it runs. Expected a line 'Selected adapter: ...'. {quote(said)}"
        )
    if not adapter.hardware and not software:
        raise ProofError(
            f"The adapter is {adapter.name!r} of type {adapter.type!r} (backend {adapter.backend}, "
            f"architecture {adapter.architecture or 'not named'}), not a hardware GPU. Install the "
            "GPU's Vulkan driver, or pass software=true to try it out: its times mean nothing."
        )
    return adapter


def left_over(said: str, operators: Sequence[str]) -> tuple[str, ...]:
    """Operators that stay on the processor, one entry each, from what LiteRT wrote in compiling.

    LiteRT names those that the GPU does not support, and counts with them those that it does, but
    that lie beyond the one part of the graph that it takes: they stand as `UNNAMED`.

    Args:
      said: what LiteRT wrote to descriptor 2.
      operators: names of the operators of the main graph, in the order of the file.

    Returns:
      their names; empty where LiteRT says of none.
    """
    named: list[str] = []
    total = 0
    lines = iter(said.splitlines())
    for line in lines:
        excluded = _EXCLUDED.search(line)
        if excluded and int(excluded[1]) < len(operators):
            named.append(operators[int(excluded[1])])
        if _NOT_SUPPORTED not in line:
            continue
        listed: list[str] = []
        for listing in lines:
            if remaining := _REMAINING.search(listing):
                total = int(remaining[1])
                break
            listed.append(listing.partition(":")[0].strip())
        named.extend([*listed, *[UNNAMED] * (total - len(listed))])
    return tuple(named)


def refuse_misbuilt(said: str, *, source: str) -> None:
    """Raises ProofError where LiteRT says that it built another graph than the file's.

    ai-edge-litert 2.3.0 drops the stride of a quantized convolution of 1x1 and gives wrong outputs;
    all that it says is a warning of the shapes.
    """
    found = [line for line in said.splitlines() if _MISBUILT in line]
    if found:
        raise ProofError(
            f"LiteRT's GPU accelerator builds {source} with other shapes than the file's, so that "
            f"its outputs are wrong and a time would mean nothing: {found[0].strip()} Convolutions "
            "of 1x1 with a stride are known to be built so in int8 and dynamic-range files. Run it "
            "on litert_cpu, or measure the float32 or float16 file."
        )


def quote(said: str) -> str:
    """The last lines of LiteRT's text that may explain something, as a sentence of a message."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    lines = [line for line in lines if not any(noise in line for noise in _NOISE)]
    if not lines:
        return "LiteRT gave no reason."
    return "LiteRT says:\n  " + "\n  ".join(lines[-_LINES_QUOTED:])


def no_device(error: BaseException, said: str) -> ProofError | None:
    """The error that says which part of Vulkan is absent; None where that is not the reason."""
    if "Couldn't load Vulkan" in said:
        advice = "Install Vulkan's loader (on Debian libvulkan1) or put it into LD_LIBRARY_PATH."
    elif "No adapters found" in said or "VK_ERROR_INCOMPATIBLE_DRIVER" in said:
        advice = "Install the GPU's Vulkan driver, or name its ICD file in VK_DRIVER_FILES."
    elif "WebGPU environment" in said and find_adapter(said) is None:
        advice = "Look at the driver with vulkaninfo."
    else:
        return None
    return ProofError(f"LiteRT found no GPU. {advice} {quote(said)}\n  {error}")


def difference(
    outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray], details: Sequence[TensorDetails]
) -> float:
    """How far outputs are from the expected ones: the worst of all outputs, as a fraction.

    For each, the root of the mean squared difference over the standard deviation of the expected
    values (over their root mean square where there are fewer than four, and at least over a tenth
    of it). Quantized outputs are compared as the real values that they stand for.

    Args:
      outputs: as the GPU gave them.
      expected: as the processor gave them, of the same shapes.
      details: scale and zero point of each.

    Returns:
      0.0 where they are equal; infinity where one has a value that is not finite and the other
      has not.
    """
    pairs = zip(outputs, expected, details, strict=True)
    return max(
        (_difference(one.dequantize(ours), one.dequantize(theirs)) for ours, theirs, one in pairs),
        default=0.0,
    )


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    if not np.array_equal(np.isfinite(ours), np.isfinite(theirs)):
        return float("inf")
    finite = np.isfinite(theirs)
    ours, theirs = ours[finite].astype(np.float64), theirs[finite].astype(np.float64)
    if theirs.size == 0:
        return 0.0
    size = float(np.sqrt(np.mean(theirs**2)))
    spread = size if theirs.size < _FEW else max(float(np.std(theirs)), size / 10)
    return float(np.sqrt(np.mean((ours - theirs) ** 2))) / max(spread, _FLOOR)
