"""The sizes that the tensors of a TFLite file have in a call.

    python -m tfcompress.call_sizes a.tflite 1 0

prints them, of a call with zeros, in a process that can be lost. Files of text encoders work with
the sizes of their own tensors: what follows from an input's stands in no file, and LiteRT knows it
when it has run. Does not know what is done with the sizes. No TensorFlow.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfcompress import own_process
from tfcompress.litert import GraphSession

_MODULE = "tfcompress.call_sizes"
_SECONDS = 300.0


def of_call(
    data: bytes, *, source: str, batch: int = 1, length: int | None = None
) -> Mapping[int, tuple[int, ...]]:
    """The sizes of the tensors of a file's main graph in a call, by the tensors' numbers.

    Args:
      data: the file's bytes.
      source: what to call the file in the message.
      batch: examples in the call.
      length: of a file that takes texts of several lengths, the tokens of each.

    Raises:
      ValueError: LiteRT does not run the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.tflite"
        path.write_bytes(data)
        words = (str(path), str(batch), str(length or 0))
        try:
            ended = own_process.run_module(_MODULE, *words, timeout_seconds=_SECONDS)
        except subprocess.TimeoutExpired:
            raise ValueError(
                f"{source} did not run through one call within {_SECONDS:g} s, which the sizes of "
                "its tensors follow from."
            ) from None
    if ended.returncode != 0:
        said = "".join(ended.stderr.splitlines(keepends=True)[-3:]).strip() or "nothing"
        raise ValueError(
            f"The sizes of the tensors of {source} follow from a call, and LiteRT does not run it: "
            f"{said}"
        )
    found = json.loads(ended.stdout.splitlines()[-1])
    return {int(index): tuple(sizes) for index, sizes in found.items()}


def _printed(path: str, batch: int, length: int) -> str:
    session = GraphSession(path, batch=batch, length=length or None, kernels="builtin")
    session.run([np.zeros(given.shape, given.dtype) for given in session.inputs])
    return json.dumps(session.shapes())


if __name__ == "__main__":
    print(_printed(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
