"""Writes small random encoders and what Hugging Face's PyTorch models make of some sentences.

With torch and transformers installed: `python tests/encoders/make_references.py FOLDER NAME...`.
`tests/encoders/references` holds what it wrote with torch 2.14.1 and transformers 5.24.0 for the
names in COMMITTED; where both are installed, a test has it write all of them anew.
"""

import json
import sys
from pathlib import Path

import numpy as np

SIZES = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
# Name -> class of transformers, settings.
CASES = {
    "bert": ("BertModel", {"type_vocab_size": 2}),
    "roberta": (
        "RobertaForMaskedLM",
        {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 2},
    ),
    "bert_classifier": (
        "BertForSequenceClassification",
        {"type_vocab_size": 3, "hidden_act": "gelu_new", "num_attention_heads": 4},
    ),
    "bert_relu": ("BertModel", {"type_vocab_size": 2, "hidden_act": "relu", "hidden_size": 6}),
    "roberta_pooled": (
        "RobertaModel",
        {"type_vocab_size": 1, "hidden_act": "gelu_new", "pad_token_id": 3},
    ),
}
COMMITTED = ("bert", "roberta")
LENGTHS = (1, 4, 9)
PADDING = {"bert": 0, "bert_classifier": 0, "bert_relu": 0, "roberta": 1, "roberta_pooled": 3}


def sentences(name: str, length: int, *, masked: bool) -> dict[str, np.ndarray]:
    """Three sequences: one whole, one half filled, one with a padding token within."""
    generator = np.random.default_rng(length + masked)
    padding = PADDING[name]
    tokens = generator.integers(4, SIZES["vocab_size"], [3, length])
    tokens[1, (length + 1) // 2 :] = padding
    tokens[2, length // 3 : length // 3 + 1] = padding if length > 1 else tokens[2, 0]
    types = CASES[name][1]["type_vocab_size"]
    mask = np.ones_like(tokens)
    if masked:
        mask[1, (length + 1) // 2 :] = 0
        mask[2, length // 2 + 1 :] = 0
    given = {"token_ids": tokens, "mask": mask, "token_types": np.arange(3 * length) % types}
    return {key: np.reshape(value, [3, length]).astype(np.int32) for key, value in given.items()}


def random_model(name: str):
    """A model with the same random weights each time, far from those that a model starts with."""
    import torch
    import transformers

    model_class, settings = CASES[name]
    cls = getattr(transformers, model_class)
    config = cls.config_class(**{**SIZES, **settings})
    if "pad_token_id" not in settings:
        assert config.pad_token_id == PADDING[name]
    model = cls._from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for key, weight in model.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator) * 0.4
            weight.copy_(drawn + 1 if key.endswith("LayerNorm.weight") else drawn)
    return model


def outputs(model, given: dict[str, np.ndarray], *, with_types: bool) -> dict[str, np.ndarray]:
    """Hidden states [layers + 1, batch, length, width], attention, and the pooler's, if any."""
    import torch

    body = getattr(model, model.base_model_prefix, model)
    types = given["token_types"] * int(with_types)
    with torch.no_grad():
        found = body(
            torch.tensor(given["token_ids"], dtype=torch.long),
            attention_mask=torch.tensor(given["mask"], dtype=torch.long),
            token_type_ids=torch.tensor(types, dtype=torch.long),
            output_hidden_states=True,
            output_attentions=True,
        )
    arrays = {
        "hidden": np.stack([state.numpy() for state in found.hidden_states]),
        "attention": np.stack([state.numpy() for state in found.attentions]),
    }
    if found.pooler_output is not None:
        arrays["pooled"] = found.pooler_output.numpy()
    return arrays


def write(folder: Path, name: str) -> None:
    import torch

    model = random_model(name)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    arrays = {}
    for length in LENGTHS:
        # Whole sentences of one type each, and padded ones of several.
        for masked in (False, True):
            given = sentences(name, length, masked=masked)
            found = outputs(model, given, with_types=masked)
            case = f"{length}/{'masked' if masked else 'whole'}"
            arrays |= {f"{case}/{key}": value for key, value in found.items()}
    np.savez_compressed(folder / "expected.npz", **arrays)


if __name__ == "__main__":
    for asked in sys.argv[2:] or CASES:
        write(Path(sys.argv[1]) / asked, asked)
