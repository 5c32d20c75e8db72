"""Google's ai-edge-quantizer on a float file, to compare with. The package is optional.

Knows how it is called. Does not know what it is compared with.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np

from tfcompress import native_output
from tfcompress.artifact import Artifact

PACKAGE = "ai_edge_quantizer"


def require_installed() -> None:
    """Refuses where the package is missing.

    Raises:
      ValueError: the message says what to install.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise ValueError(
            "The method ai-edge-quantizer needs a package that is not installed. "
            "Run: pip install -e '.[compare]', in a checkout of tfcompress."
        )


def quantize(artifact: Artifact, images: np.ndarray) -> Artifact:
    """Quantizes a float file to int8 weights and activations, with the package's own recipe.

    Args:
      artifact: a float32 file with one signature, as `convert` makes it.
      images: float32 [n, ...], what it takes, for the ranges of activations.

    Returns:
      the file, which takes and gives floats, with the metadata of the float one.
    """
    from ai_edge_quantizer import quantizer, recipe

    said: list[str] = []
    with native_output.held(said), warnings.catch_warnings():
        # It warns of the memory that reading every tensor takes.
        warnings.simplefilter("ignore")
        tool = quantizer.Quantizer(artifact.data, recipe.static_wi8_ai8())
        found = tool.calibrate(_batches(artifact, images))
        made = tool.quantize(found, enable_progress_bar=False, enable_progress_report=False)
    return Artifact(bytes(made.quantized_model)).with_metadata(artifact.metadata)


def _batches(artifact: Artifact, images: np.ndarray) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    signatures = Interpreter(model_content=artifact.data).get_signature_list()
    (signature, ends), *_ = signatures.items()
    (name,) = ends["inputs"]
    return {signature: [{name: image[None]} for image in images]}
