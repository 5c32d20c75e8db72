import os
import sys

import pytest

from tfcompress import vulkan
from tfcompress.vulkan import Device, VulkanError


@pytest.mark.parametrize(
    ("kind", "software"),
    [
        ("discrete GPU", False),
        ("integrated GPU", False),
        ("virtual GPU", False),
        ("CPU", True),
        ("other", True),
    ],
)
def test_type_tells_software_from_hardware(kind, software):
    assert Device("x", kind).software == software


def test_without_a_driver_the_reason_is_one_of_vulkans(tmp_path):
    environment = os.environ | {"VK_DRIVER_FILES": str(tmp_path / "none.json")}
    with pytest.raises(VulkanError, match=r"VK_DRIVER_FILES|libvulkan1|offer no device"):
        vulkan.devices(environment)


def test_devices_have_names_and_types():
    try:
        found = vulkan.devices()
    except VulkanError as error:
        pytest.skip(str(error))
    assert all(device.name and device.type in vulkan.TYPES for device in found)


def test_hanging_driver_is_given_up():
    with pytest.raises(VulkanError, match=r"did not answer within 0\.0001 s"):
        vulkan.devices(timeout_seconds=1e-4)


def test_crash_is_reported_with_its_last_words(tmp_path, monkeypatch):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\necho 'driver is broken' >&2\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    with pytest.raises(VulkanError, match="ended with -11: driver is broken"):
        vulkan.devices()
