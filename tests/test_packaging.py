"""What a fresh clone promises: commands, metadata, package data, and nothing of one machine."""

import ast
import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfcompress import registry

ROOT = Path(__file__).parents[1]
# Import name -> distribution, where they differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "ai_edge_litert": "ai-edge-litert",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "pynvml": "nvidia-ml-py",
    "markupsafe": "jinja2",  # A part of Jinja's interface that lives in a package of its own.
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
}


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def required(option: str, section: str = "options") -> set[str]:
    """Names of the distributions in a list of requirements."""
    lines = setup_cfg()[section][option].split("\n")
    return {re.split(r"[<>=\[~!;, ]", line.strip())[0] for line in lines if line.strip()}


def tracked_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def command_that_tests(name: str) -> str:
    """The one line of a file that makes an environment and runs the tests in it."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [line.strip() for line in lines if "venv .venv" in line and "pytest" in line]
    assert len(found) == 1, f"{name} has {len(found)} lines that install and run the tests"
    return found[0]


def test_ci_calls_the_command_of_the_readme() -> None:
    assert command_that_tests("README.md") == command_that_tests(".ci/run")


def test_ci_guards_the_count_of_tests() -> None:
    assert int((ROOT / ".ci" / "least_tests").read_text(encoding="utf-8")) > 0
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_every_import_is_required() -> None:
    # What an extra brings is imported where it is used, after a check that it is there.
    extras = (
        required(name, "options.extras_require")
        for name in ("compare", "gpu", "onnx", "search", "text")
    )
    declared = required("install_requires").union(*extras)
    for path in ROOT.glob("tfcompress/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named: list[str] = []
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                named = [node.module or ""]
            for name in named:
                top = name.split(".")[0]
                if top in sys.stdlib_module_names or top == "tfcompress":
                    continue
                assert DISTRIBUTIONS.get(top, top) in declared, f"{path.name} imports {name}"


def test_the_promised_extras_exist() -> None:
    extras = setup_cfg()["options.extras_require"]
    assert set(extras) >= {"gpu", "search", "text", "test"}
    assert required("test", "options.extras_require") >= {"pytest", "ruff", "mypy"}


def test_a_wheel_carries_the_data_of_the_package(tmp_path: Path) -> None:
    """Every file beside the modules is matched by a pattern of `package_data`."""
    patterns = setup_cfg()["options.package_data"]
    everywhere = [pattern.strip() for pattern in re.split(r"[,\n]", patterns["*"])]
    for path in ROOT.glob("tfcompress/**/*"):
        if not path.is_file() or path.suffix in (".py", ".pyc"):
            continue
        package = path.parent
        while not (package / "__init__.py").exists():
            package = package.parent
        own = patterns.get(package.relative_to(ROOT).as_posix().replace("/", "."), "")
        inside = path.relative_to(package)
        found = any(inside.match(p) for p in everywhere if len(inside.parts) == 1)
        found |= any(
            inside.match(p.strip()) for p in re.split(r"[,\n]", own) if p.strip().count("/")
        )
        assert found, f"{path.relative_to(ROOT)} would be missing from an installed package"


# Spelled in parts, so that this file does not hold what it forbids.
HOSTS = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com"]
HOSTS += ["deb.deb" + "ian.org", "snapshot.deb" + "ian.org", "arti" + "factory"]
FOLDERS = ["/" + name + "/" for name in ("home", "root", "work", "Users")]


def test_no_tracked_file_names_a_machine_or_a_registry_host() -> None:
    # At the start of a word only: in the middle of one it is a relative path.
    folders = re.compile(r"(?<![\w.\-/])(" + "|".join(FOLDERS) + r")\w")
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
            if folders.search(line) or any(host in line for host in HOSTS):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)


def test_large_files_are_not_tracked() -> None:
    sizes = {path: path.stat().st_size for path in tracked_files()}
    samples = sum(size for path, size in sizes.items() if path.name.endswith("_sample.npz"))
    weights = sum(size for path, size in sizes.items() if path.parent.name == "weights")
    assert samples <= 6 * 10**6
    assert weights <= 400 * 10**3
    rest = {p: s for p, s in sizes.items() if p.suffix != ".npz" and s > 10**6}
    assert not rest, f"large files: {[str(path.relative_to(ROOT)) for path in rest]}"


def examples() -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def module_of(source: str, name: str):
    """A module made of an example's text."""
    module = type(sys)(name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
    return module


def test_the_technique_in_contributing_works() -> None:
    from tfcompress._keras import keras
    from tfcompress.techniques import VerificationError

    max_norm = module_of(examples()[0], "max_norm_example")
    generator = np.random.default_rng(0)
    inputs = keras.Input([8, 8, 2])
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    config = max_norm.CONFIG(limit=0.1)
    with pytest.raises(VerificationError, match="layer conv"):
        max_norm.verify(model, config)
    wrapped = max_norm.wrap(model, config, steps_per_epoch=2, epochs=1)
    wrapped.compile("sgd", "mse")
    images = generator.normal(size=[16, 8, 8, 2]).astype(np.float32)
    targets = generator.normal(size=[16, 3]).astype(np.float32)
    callbacks = max_norm.callbacks(config)
    wrapped.fit(images, targets, batch_size=8, callbacks=callbacks, verbose=0)
    stripped = max_norm.strip(wrapped)
    np.testing.assert_array_equal(stripped(images), wrapped(images))
    max_norm.verify(stripped, config)
    treated = {
        layer.name: layer.treated for layer in max_norm.report(model, stripped, config).layers
    }
    assert treated == {"conv": True, "logits": True}
    assert max_norm.skipped(model, config) == {}
    with pytest.raises(ValueError, match="must be above 0"):
        max_norm.CONFIG(limit=0)
    assert "max_norm" not in registry.names("techniques")


def test_the_data_set_in_contributing_works() -> None:
    from tfcompress.data import DataConfig

    published = module_of(examples()[1], "noise_example").published(DataConfig(), "")
    assert published.classes == ("dark", "bright")
    assert (len(published.train), len(published.test)) == (900, 300)
    means = [published.train.examples[published.train.labels == k].mean() for k in (0, 1)]
    # Uniform over 0..127 and over 128..255.
    assert means == pytest.approx([63.5, 191.5], abs=1.0)
