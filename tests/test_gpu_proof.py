import pytest

from tfcompress import gpu_proof
from tfcompress.gpu_proof import UNNAMED, ProofError

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
