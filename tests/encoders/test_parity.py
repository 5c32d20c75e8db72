"""Encoders compute what Hugging Face's PyTorch models compute, layer by layer."""

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tfcompress import encoders

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("make_references", HERE / "make_references.py")
references = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(references)

# Both sum in float32, in other orders; hidden states are of the size of 1 to 5.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    """Sentences of one length, and what PyTorch made of them."""

    name: str
    length: int
    masked: bool

    @property
    def id(self) -> str:
        return f"{self.length}/{'masked' if self.masked else 'whole'}"

    def given(self):
        return references.sentences(self.name, self.length, masked=self.masked)

    def expected(self, folder):
        with np.load(folder / self.name / "expected.npz") as arrays:
            start = f"{self.id}/"
            return {k.removeprefix(start): arrays[k] for k in arrays.files if k.startswith(start)}


CASES = [
    Case(name, length, masked)
    for name in references.CASES
    for length in references.LENGTHS
    for masked in (False, True)
]


@pytest.fixture(scope="module")
def live_folder(tmp_path_factory):
    missing = [n for n in ("torch", "transformers") if importlib.util.find_spec(n) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("references")
    # In a process of its own: torch and TensorFlow bring runtimes that need not agree.
    command = [sys.executable, str(HERE / "make_references.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def require_equal(case: Case, folder: Path, *, token_types: bool) -> None:
    pretrained = encoders.load(folder / case.name)
    config, expected = pretrained.config, case.expected(folder)
    pooler = "pooled" in expected
    assert pretrained.has_pooler == pooler
    model = encoders.build_pretrained(
        pretrained, length=case.length, token_types=token_types, pooler=pooler
    )
    # PyTorch was given types with the padded sentences alone.
    given = case.given()
    given["token_types"] = given["token_types"] * case.masked
    inputs = {name: given[name] for name in model.input_names}
    names = (*encoders.hidden_state_names(config), *encoders.attention_names(config))
    found = encoders.with_outputs(model, names)(inputs)
    wanted = [*expected["hidden"], *expected["attention"]]
    for name, received, array in zip(names, found, wanted, strict=True):
        np.testing.assert_allclose(received, array, rtol=0, atol=TOLERANCE, err_msg=name)
    last = expected["pooled"] if pooler else expected["hidden"][-1]
    np.testing.assert_allclose(model(inputs), last, rtol=0, atol=TOLERANCE)


def of_type_0(case: Case) -> bool:
    """Whether all tokens are: whole sentences come so, and RoBERTa has no other type."""
    return not case.masked or case.name.startswith("roberta")


def cases(name):
    """Each with the third input, and without it where all tokens are of type 0."""
    own = [case for case in CASES if case.name == name]
    return [(case, types) for case in own for types in (True, False) if types or of_type_0(case)]


@pytest.mark.parametrize(
    ("case", "token_types"),
    [pair for name in references.COMMITTED for pair in cases(name)],
    ids=lambda value: f"{value.name}/{value.id}" if isinstance(value, Case) else f"types={value}",
)
def test_every_layer_gives_what_pytorch_gave(case, token_types):
    pytest.importorskip("safetensors")
    require_equal(case, HERE / "references", token_types=token_types)


@pytest.mark.parametrize("name", references.CASES)
def test_every_layer_gives_what_pytorch_gives(name, live_folder):
    for case, token_types in cases(name):
        require_equal(case, live_folder, token_types=token_types)


def test_the_committed_references_are_those_that_are_made(live_folder):
    for name in references.COMMITTED:
        with (
            np.load(HERE / "references" / name / "expected.npz") as committed,
            np.load(live_folder / name / "expected.npz") as made,
        ):
            assert committed.files == made.files
            for key in made.files:
                np.testing.assert_allclose(committed[key], made[key], rtol=0, atol=1e-5)
