"""Whether an exported file runs, and is what its format promises: its ends, its operators.

    python -m tfcompress.exported_file a.tflite

runs a file once, in a process that can be lost. Knows what a file of each format takes, gives and
holds. Does not know how it was made. No TensorFlow.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tfcompress import file_graph, flatbuffer, own_process
from tfcompress.artifact import Artifact
from tfcompress.litert import Session

ENDS = {"int8": np.dtype(np.int8), "int16x8": np.dtype(np.int16)}
"""What the files of the integer formats take and give."""

# What becomes of ids of tokens before they have a scale: the mask of padding.
_OF_TOKENS = ("CAST", "QUANTIZE")
_MODULE = "tfcompress.exported_file"
_SECONDS = 300.0


class ExportError(ValueError):
    """The converter refused a model. The message holds what it said."""


def require_running(artifact: Artifact, format: str, *, quantization_aware: bool) -> None:
    """Refuses a file that does not run, or is not of its format.

    Args:
      artifact: the file.
      format: one of `export.FORMATS`.
      quantization_aware: whether the model came from quantization-aware training, whose layers may
        have stayed in float.

    Raises:
      ExportError: it does not run, ends the process that runs it, has other ends than its format,
        or operators in float where the format has none.
    """
    try:
        # Told by the file: a session may end the process already as it is opened.
        graph = flatbuffer.parse(artifact.data, source="The exported file").subgraphs[0]
        texts = file_graph.type_name(graph.tensors[graph.inputs[0]]) == "INT32"
        if texts and format in ENDS:
            _require_survived(artifact, format)
        details = artifact.session().input_details
        outputs = _run_at_every_length(artifact)
    except ExportError:
        raise
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"The {format} file does not run: {error}") from error
    own = _OF_TOKENS if texts else ()
    left = [
        operator.name
        for operator in artifact.operators
        if not operator.integer and operator.name not in own
    ]
    if quantization_aware and left:
        # Layers that were trained in float stay in float, and the file's ends with them.
        return
    expected = ENDS.get(format, np.dtype(np.float32))
    taken = np.dtype(np.int32) if texts else expected
    if details.dtype != taken or outputs.dtype != expected:
        raise ExportError(
            f"The {format} file takes {details.dtype} and gives {outputs.dtype}. "
            f"Expected {expected}."
        )
    if format in ENDS and left:
        raise ExportError(
            f"The {format} file keeps {len(left)} of {len(artifact.operators)} operators in float: "
            f"{', '.join(sorted(set(left)))}. Expected none. Quantize the layers they come from, "
            "or export dynamic."
        )


def _require_survived(artifact: Artifact, format: str) -> None:
    """Refuses a file that ends the process which runs it.

    LiteRT's integer kernels abort where the steps of two tensors lie too far apart, as where
    calibration saw one value alone: of the mask, if no text had padding.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.tflite"
        path.write_bytes(artifact.data)
        try:
            ended = own_process.run_module(_MODULE, str(path), timeout_seconds=_SECONDS)
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"The {format} file did not run through one batch within {_SECONDS:g} s."
            ) from None
    if ended.returncode == 0:
        return
    said = "".join(ended.stderr.splitlines(keepends=True)[-3:]).strip() or "nothing"
    if ended.returncode > 0:
        raise ExportError(f"The {format} file does not run in a process of its own: {said}")
    raise ExportError(
        f"LiteRT ends the process that runs the {format} file (signal {-ended.returncode}). It "
        f"said: {said}. Calibration texts with no padding are the usual cause: begin with "
        "Tokenization.for_calibration, or export dynamic."
    )


def _run_at_every_length(artifact: Artifact) -> np.ndarray:
    """Runs a file on zeros, at each length if it takes several, and gives what came out last."""
    for length in artifact.lengths[:-1]:
        _run_once(artifact.session(length=length))
    return _run_once(artifact.session())


def _run_once(session: Session) -> np.ndarray:
    return session.run(np.zeros(session.input_details.shape, session.input_details.dtype))


if __name__ == "__main__":
    _run_at_every_length(Artifact.load(sys.argv[1]))
