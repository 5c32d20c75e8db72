"""Which devices Vulkan knows on this machine, asked of its loader with no window and no context.

Knows the names and types of physical devices, as their drivers give them. Does not know LiteRT.
It asks in a process of its own: a driver that a Vulkan instance brings in would stay in this one,
and a broken one could end it.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TYPES = ("other", "integrated GPU", "discrete GPU", "virtual GPU", "CPU")
"""`VkPhysicalDeviceType`, by its numbers."""

_LIBRARY = "libvulkan.so.1"
_SECONDS = 60.0
# VkResult VK_ERROR_INCOMPATIBLE_DRIVER: the loader found no driver.
_NO_DRIVER = -9
# A little more than VkPhysicalDeviceProperties, which has 824 bytes: version, driver's version,
# vendor, device, type (4 bytes each), then the name in 256.
_PROPERTIES_BYTES = 1024
_TYPE_OFFSET, _NAME_OFFSET = 16, 20
_APPLICATION_INFO, _INSTANCE_INFO = 0, 1
# Version 1.1, as the accelerator asks for: (1 << 22) | (1 << 12).
_VERSION = 0x401000


class VulkanError(RuntimeError):
    """Vulkan has no device to offer here. The message says why and what to do."""


@dataclass(frozen=True)
class Device:
    """A physical device of Vulkan.

    Attributes:
      name: as its driver gives it, such as `"NVIDIA H200"`.
      type: one of `TYPES`.
    """

    name: str
    type: str

    @property
    def software(self) -> bool:
        """Whether the processor plays the GPU, or the driver does not say what it is."""
        return self.type in ("CPU", "other")


def devices(
    environment: Mapping[str, str] | None = None, *, timeout_seconds: float = _SECONDS
) -> tuple[Device, ...]:
    """Asks Vulkan for its devices, in a process of its own.

    Args:
      environment: of that process; this one's where None. `VK_DRIVER_FILES` names drivers.
      timeout_seconds: a driver that takes longer is given up.

    Raises:
      VulkanError: no loader, no driver, no device, or a driver that fails.
    """
    # Here, not above: run by its path, this file needs nothing of the package.
    from tfcompress import own_process

    command = [sys.executable, str(Path(__file__).resolve())]
    try:
        finished = own_process.run(
            command, timeout_seconds=timeout_seconds, environment=environment
        )
    except subprocess.TimeoutExpired:
        raise VulkanError(
            f"Vulkan's drivers did not answer within {timeout_seconds:g} s. Run vulkaninfo to see "
            "which one hangs."
        ) from None
    lines = finished.stdout.splitlines()
    if finished.returncode != 0 or not lines:
        last = " ".join(finished.stderr.strip().splitlines()[-3:])
        raise VulkanError(
            f"Asking Vulkan for its devices ended with {finished.returncode}: {last or 'nothing'}."
        )
    reply = json.loads(lines[-1])
    if "error" in reply:
        raise VulkanError(reply["error"])
    return tuple(Device(**one) for one in reply["devices"])


def _load() -> Any:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise VulkanError(
            f"Vulkan's loader cannot be loaded ({error}). Install it, on Debian libvulkan1, or "
            "name its folder in LD_LIBRARY_PATH."
        ) from error


class _ApplicationInfo(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("application", ctypes.c_char_p),
        ("application_version", ctypes.c_uint32),
        ("engine", ctypes.c_char_p),
        ("engine_version", ctypes.c_uint32),
        ("version", ctypes.c_uint32),
    )


class _InstanceInfo(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.POINTER(_ApplicationInfo)),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    )


def _instance(library: Any) -> ctypes.c_void_p:
    application = _ApplicationInfo(kind=_APPLICATION_INFO, version=_VERSION)
    info = _InstanceInfo(kind=_INSTANCE_INFO, application=ctypes.pointer(application))
    instance = ctypes.c_void_p()
    result = library.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance))
    if result == _NO_DRIVER:
        raise VulkanError(
            f"vkCreateInstance failed with {result}: Vulkan found no driver. Install the GPU's, or "
            "name its ICD file (such as nvidia_icd.json) in VK_DRIVER_FILES."
        )
    if result != 0:
        raise VulkanError(f"vkCreateInstance failed with {result}. See VkResult for its meaning.")
    return instance


def _enumerate() -> list[dict[str, str]]:
    """The devices as this process sees them."""
    library = _load()
    instance = _instance(library)
    count = ctypes.c_uint32()
    result = library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    if result != 0 or count.value == 0:
        raise VulkanError(
            f"Vulkan's drivers offer no device (vkEnumeratePhysicalDevices gave {result})."
        )
    handles = (ctypes.c_void_p * count.value)()
    library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    return [_properties(library, handle) for handle in handles[: count.value]]


def _properties(library: Any, handle: int | None) -> dict[str, str]:
    held = (ctypes.c_char * _PROPERTIES_BYTES)()
    library.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), held)
    kind = ctypes.c_int.from_buffer(held, _TYPE_OFFSET).value
    name = held.raw[_NAME_OFFSET : _NAME_OFFSET + 256].split(b"\0")[0].decode("utf-8", "replace")
    return {"name": name, "type": TYPES[kind] if 0 <= kind < len(TYPES) else TYPES[0]}


if __name__ == "__main__":
    try:
        print(json.dumps({"devices": _enumerate()}))
    except VulkanError as problem:
        print(json.dumps({"error": str(problem)}))
