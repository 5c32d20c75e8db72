import numpy as np
import pytest

from tfcompress import gpu_proof
from tfcompress.gpu_proof import UNNAMED, ProofError
from tfcompress.litert import TensorDetails

SOFTWARE = (
    "INFO: [environment.cc:36] Creating LiteRT environment with options\n"
    "I0000 00:00:1795963565.433760    8305 environment.cc:532] Selected adapter: "
    "llvmpipe (LLVM 15.0.6, 256 bits), arch=software, vendor=mesa, backend=Vulkan, "
    "adapterType=CPU / Software\n"
    "INFO: [delegate_webgpu.cc:363] Created a WebGPU environment.\n"
)
HARDWARE = (
    "Selected adapter: NVIDIA H200, arch=hopper, vendor=nvidia, backend=Vulkan, "
    "adapterType=Discrete GPU\n"
)
NOT_SUPPORTED = (
    "ERROR: Following operations are not supported by GPU delegate:\n"
    "ARG_MAX: Tensor type(INT64) is not supported. model/ArgMax\n"
    "CAST: Tensor type(INT64) is not supported. model/ArgMax\n"
    "5 operations will run on the GPU, and the remaining 4 operations will run on the CPU.\n"
)
NO_DRIVER = (
    "INFO: [accelerator_registry.cc:54] RegisterAccelerator: ptr=0x5, name=GPU WebGPU\n"
    "Warning: vkCreateInstance: Found no drivers!\n"
    "Warning: vkCreateInstance failed with VK_ERROR_INCOMPATIBLE_DRIVER\n"
    "ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: No "
    "adapters found\n"
)


def test_adapter_of_an_nvidia_gpu_is_hardware():
    adapter = gpu_proof.find_adapter(HARDWARE)
    assert (adapter.name, adapter.architecture, adapter.vendor) == (
        "NVIDIA H200",
        "hopper",
        "nvidia",
    )
    assert (adapter.backend, adapter.type) == ("Vulkan", "Discrete GPU")
    assert adapter.hardware


def test_adapter_with_commas_in_its_name_and_no_architecture():
    said = (
        "x] Selected adapter: A (B, C), arch=, vendor=, backend=Vulkan, adapterType=Integrated GPU"
    )
    adapter = gpu_proof.find_adapter(said)
    assert (adapter.name, adapter.architecture, adapter.hardware) == ("A (B, C)", "", True)


def test_last_adapter_counts():
    assert gpu_proof.find_adapter(HARDWARE + SOFTWARE).vendor == "mesa"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Discrete GPU", "CPU"),
        ("Discrete GPU", "CPU / Software"),
        ("Discrete GPU", "Unknown"),
        ("backend=Vulkan", "backend=Null"),
        ("NVIDIA H200", "llvmpipe (LLVM 19)"),
        ("NVIDIA H200", "SwiftShader Device"),
        ("hopper", "software"),
    ],
)
def test_one_doubtful_word_is_enough_to_be_no_hardware(old, new):
    said = HARDWARE.replace(old, new)
    assert not gpu_proof.find_adapter(said).hardware
    with pytest.raises(ProofError, match="not a hardware GPU"):
        gpu_proof.require_adapter(said, software=False)
    assert gpu_proof.require_adapter(said, software=True)


def test_no_adapter_is_no_proof_even_where_software_would_do():
    with pytest.raises(ProofError, match=r"named no adapter(.|\n)*Created nothing"):
        gpu_proof.require_adapter("Created nothing\n", software=True)


def test_left_over_operators_are_named_and_counted():
    assert gpu_proof.left_over(NOT_SUPPORTED, []) == ("ARG_MAX", "CAST", UNNAMED, UNNAMED)


def test_all_operators_may_be_left_over():
    said = (
        "ERROR: Following operations are not supported by GPU delegate:\nFOO: no such kernel\n"
        "No operations will run on the GPU, and all 2 operations will run on the CPU.\n"
    )
    assert gpu_proof.left_over(said, []) == ("FOO", UNNAMED)


def test_excluded_operators_are_named_by_their_numbers():
    said = (
        "LITERT_GPU_DEBUG_EXCLUDE_NODES set to 1,2\n"
        "a.cc:613] Excluding node 1 (1 in ops_to_replace) from WebGPU delegation.\n"
        "a.cc:613] Excluding node 2 (2 in ops_to_replace) from WebGPU delegation.\n"
    )
    assert gpu_proof.left_over(said, ["CONV_2D", "ADD", "MUL"]) == ("ADD", "MUL")


def test_nothing_is_left_over_where_nothing_is_said():
    assert gpu_proof.left_over(SOFTWARE, ["ADD"]) == ()


def test_graph_of_other_shapes_is_refused_with_the_warning():
    said = SOFTWARE + "W0000 Shape mismatch in GpuModelBuilder::UpdateOutputTensors(output of c).\n"
    with pytest.raises(ProofError, match=r"a\.tflite(.|\n)*outputs are wrong(.|\n)*output of c"):
        gpu_proof.refuse_misbuilt(said, source="a.tflite")
    gpu_proof.refuse_misbuilt(SOFTWARE, source="a.tflite")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (NO_DRIVER, "VK_DRIVER_FILES"),
        (NO_DRIVER + "Warning: Couldn't load Vulkan: libvulkan.so.1: no such file\n", "libvulkan1"),
        ("E0 Failed to get or create delegate WebGPU environment\n", "vulkaninfo"),
    ],
    ids=["no driver", "no loader", "unknown"],
)
def test_absent_device_is_explained(said, expected):
    error = gpu_proof.no_device(RuntimeError("code 1"), said)
    assert "found no GPU" in str(error)
    assert expected in str(error)
    assert said.splitlines()[-1] in str(error)
    assert "RegisterAccelerator" not in str(error)
    assert "code 1" in str(error)


def test_other_failures_are_not_blamed_on_the_device():
    assert gpu_proof.no_device(RuntimeError("code 1"), SOFTWARE + NOT_SUPPORTED) is None


def test_quote_keeps_the_last_lines_only():
    said = "\n".join(f"line {number}" for number in range(20))
    assert gpu_proof.quote(said).splitlines()[1:] == [f"  line {n}" for n in range(12, 20)]
    assert gpu_proof.quote("INFO: x_registry.cc\n") == "LiteRT gave no reason."


FLOAT = TensorDetails((1, 4), np.dtype(np.float32))


def float_row(*values):
    return np.array([values], np.float32)


def test_difference_by_hand():
    # Off by 0.2 everywhere; the expected values 1, 3, 1, 3 have a standard deviation of 1.
    ours, theirs = float_row(1.2, 3.2, 1.2, 3.2), float_row(1, 3, 1, 3)
    assert gpu_proof.difference([ours], [theirs], [FLOAT]) == pytest.approx(0.2, rel=1e-6)
    assert gpu_proof.difference([theirs], [theirs], [FLOAT]) == 0


def test_difference_of_few_values_is_relative_to_their_size():
    found = gpu_proof.difference([float_row(2.2)], [float_row(2)], [FLOAT])
    assert found == pytest.approx(0.1, rel=1e-6)


def test_outputs_that_got_lost_for_their_size_are_no_agreement():
    lost, theirs = float_row(0, 0, 0, 0), float_row(1e-7, -1e-7, 1e-7, -1e-7)
    assert gpu_proof.difference([lost], [theirs], [FLOAT]) == pytest.approx(1)
    assert gpu_proof.difference([lost], [lost], [FLOAT]) == 0


def test_difference_of_quantized_outputs_is_that_of_their_values():
    details = TensorDetails((1, 4), np.dtype(np.int8), 0.5, 2)
    # Stored 4, 0, 4, 0 stand for 1, -1, 1, -1; one step of 0.5 in each.
    theirs = np.array([[4, 0, 4, 0]], np.int8)
    assert gpu_proof.difference([theirs + np.int8(1)], [theirs], [details]) == pytest.approx(0.5)


def test_difference_of_several_outputs_is_the_worst():
    one, other = float_row(1, 3, 1, 3), float_row(1.5, 3.5, 1.5, 3.5)
    found = gpu_proof.difference([one, other], [one, one], [FLOAT, FLOAT])
    assert found == pytest.approx(0.5)


def test_value_that_is_not_finite_on_one_side_only_is_infinitely_far():
    bad, good = float_row(np.nan, 3, 1, 3), float_row(1, 3, 1, 3)
    assert gpu_proof.difference([bad], [good], [FLOAT]) == np.inf
    assert gpu_proof.difference([bad], [bad], [FLOAT]) == 0
