"""An exported TFLite file: its bytes, what it says about itself, and its use in two lines.

    artifact = Artifact.load("digits.tflite")
    print(artifact.predict("seven.png")[0].label)

Knows how preprocessing and label names stand in the file's metadata, how to read weights and
operators back, and how to run images or texts through the file. Does not know how a file was made.
No TensorFlow here.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import answers, durable, flatbuffer, metadata
from tfcompress.answers import PredictedValues, Prediction
from tfcompress.flatbuffer import OperatorInfo, WeightTensor
from tfcompress.image_files import ImagePath, Images, raw_batches
from tfcompress.litert import Session, check_counts
from tfcompress.metadata import labels_of, preprocessing_of, targets_of
from tfcompress.predictions import OUTPUT_KINDS, VALUES
from tfcompress.tokenization import Preparation, Tokenization
from tfcompress.tokenizer import FILE as TOKENIZER_FILE
from tfcompress.tokenizer import Tokenizer, TokenizerError

DEFAULT_BATCH = 32


@dataclass(frozen=True)
class DistinctWeights:
    """How many distinct values the kernels of a file hold, at most.

    Attributes:
      in_channel: within one output channel; clustering to k values bounds it by k in every format.
      in_tensor: within one whole kernel. With a scale for each channel, or with batch normalization
        folded in, the stored values of a clustered kernel number up to k for each channel.
    """

    in_channel: int
    in_tensor: int


@dataclass(frozen=True)
class Artifact:
    """The bytes of a TFLite file.

    Attributes:
      data: the file's bytes.
      path: where it was read from or saved to; None before it is saved.

    Raises:
      ValueError: `data` is no TFLite file, or a damaged one.
    """

    data: bytes
    path: Path | None = None

    def __post_init__(self) -> None:
        # Reads the file whole, so that a truncated one is refused here and not in mid-work.
        _ = self._model

    def __repr__(self) -> str:
        return f"Artifact({self._name}, {self.size_bytes} bytes, sha256={self.sha256[:12]})"

    @classmethod
    def load(cls, path: ImagePath) -> Artifact:
        """Reads a TFLite file.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it is no TFLite file, or a damaged one.
        """
        file = Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"No TFLite file at {file}.")
        return cls(file.read_bytes(), file)

    def save(self, path: ImagePath) -> Artifact:
        """Writes the file, whole or not at all, and returns the artifact that knows its path."""
        durable.write_bytes(path, self.data)
        return Artifact(self.data, Path(path))

    @cached_property
    def _model(self) -> Any:
        return flatbuffer.parse(self.data, source=self._name)

    @property
    def _name(self) -> str:
        return "The TFLite model" if self.path is None else str(self.path)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the bytes as 64 hexadecimal digits."""
        return durable.sha256(self.data)

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return len(self.data)

    @cached_property
    def gzip_size_bytes(self) -> int:
        """The size after gzip at level 9, with no file name and no time in the header."""
        return len(gzip.compress(self.data, compresslevel=9, mtime=0))

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What this package wrote into the file; empty for a file from elsewhere.

        Keys: `preprocessing` (a record of `Preprocessing`, or of `Tokenization`), `labels` (names
          in label order) or `targets` (names of values), `output` (`"logits"`, `"probabilities"` or
          `"values"`), `format`, `stages`, `tfcompress_version`.

        Raises:
          ValueError: the entry is there but holds no JSON object.
        """
        content = flatbuffer.read_metadata(self._model, metadata.NAME)
        if content is None:
            return {}
        try:
            record = metadata.unpacked(content)
        except ValueError as error:
            raise ValueError(f"The metadata of {self._name} is not JSON: {error}.") from error
        if not isinstance(record, dict):
            raise ValueError(f"The metadata of {self._name} is not a JSON object.")
        return record

    def with_metadata(self, record: Mapping[str, Any]) -> Artifact:
        """A new artifact that carries `record`, which replaces what the file carried before.

        Args:
          record: JSON-ready, with the keys that `metadata` lists. Dataclasses: pass `to_dict()`.

        Raises:
          TypeError: a value that JSON cannot hold.
        """
        content = json.dumps(dict(record), sort_keys=True, allow_nan=False).encode("utf-8")
        # A model of its own: writing changes the parsed objects.
        model = flatbuffer.parse(self.data, source=self._name)
        return Artifact(flatbuffer.write_metadata(model, metadata.NAME, content))

    @cached_property
    def operators(self) -> tuple[OperatorInfo, ...]:
        """The operators of the file, in file order."""
        return flatbuffer.operators(self._model)

    @property
    def integer_operators(self) -> int:
        """How many operators read and write integers only."""
        return sum(operator.integer for operator in self.operators)

    def weights(self) -> dict[str, WeightTensor]:
        """The kernels of convolutions and matrix products, by tensor name, in file order."""
        return dict(self._weights)

    @cached_property
    def _weights(self) -> dict[str, WeightTensor]:
        return flatbuffer.weights(self._model)

    def tables(self) -> dict[str, WeightTensor]:
        """The tables that rows are taken from, such as those of tokens, by tensor name."""
        return flatbuffer.tables(self._model)

    def sparsity(self) -> float:
        """The fraction of exact zeros among the elements of `weights()`; 0 where there are none."""
        tensors = self._weights.values()
        elements = sum(tensor.values.size for tensor in tensors)
        return sum(tensor.zeros() for tensor in tensors) / elements if elements else 0.0

    def distinct_weights(self) -> dict[str, DistinctWeights]:
        """The count of distinct values of each of `weights()`."""
        return {
            name: DistinctWeights(tensor.distinct_in_channel(), tensor.distinct())
            for name, tensor in self._weights.items()
        }

    def session(self, *, threads: int = 1, batch: int = 1, length: int | None = None) -> Session:
        """Loads the file for batches of one size.

        Args:
          threads: processor threads.
          batch: examples in one call.
          length: of a file that takes texts of several lengths, the tokens of each; None for the
            greatest.

        Raises:
          ValueError: see `Session`.
        """
        if length is None and self.lengths:
            length = self.lengths[-1]
        return Session(self.data, threads=threads, batch=batch, length=length)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The counts of tokens that a file for texts takes, ascending; empty for one of one size.

        Raises:
          ValueError: malformed metadata.
        """
        record = self.metadata.get("preprocessing")
        if not isinstance(record, dict) or not record.get("shorter"):
            return ()
        found = self.preprocessing
        return found.lengths if isinstance(found, Tokenization) else ()

    def by_length(self, inputs: np.ndarray) -> list[tuple[np.ndarray | slice, int | None]]:
        """Which examples to run together: each text at the shortest length that holds it.

        Args:
          inputs: as `run` takes them, texts at the greatest length.

        Returns:
          what picks them from the inputs, with the length to cut them to; all of them, as they are,
          with None where the file takes one size.
        """
        preprocessing = self.preprocessing if self.lengths else None
        if not isinstance(preprocessing, Tokenization):
            return [(slice(None), None)]
        shortest = preprocessing.shortest(inputs)
        groups = ((np.flatnonzero(shortest == length), length) for length in self.lengths)
        return [(indices, length) for indices, length in groups if indices.size]

    def run(
        self, inputs: np.ndarray, *, threads: int = 1, batch_size: int = DEFAULT_BATCH
    ) -> np.ndarray:
        """Runs preprocessed examples and gives the raw outputs as real numbers.

        The input of an integer file is quantized with the file's own scale and zero point, its
        output brought back with them. Ids of tokens stay as they are.

        Args:
          inputs: float32 [examples, height, width, channels], preprocessed; of a file for texts
            int32 [examples, length], of one of its `lengths`.
          threads: processor threads.
          batch_size: examples in one call.

        Returns:
          float32 [examples, classes], or [examples, targets].

        Raises:
          ValueError: another dtype or shape, or a number that is not finite.
        """
        check_counts(threads=threads, batch_size=batch_size)
        wanted = self._input_dtype
        if not isinstance(inputs, np.ndarray) or inputs.dtype != wanted:
            kind = getattr(inputs, "dtype", type(inputs).__name__)
            raw = "texts" if wanted == np.int32 else "uint8 images"
            what = "ids of tokens, int32" if wanted == np.int32 else "float32 images"
            raise ValueError(
                f"run takes preprocessed {what}. Received: {kind}. For raw {raw} "
                "call predict, or Preprocessing.apply first."
            )
        batch = max(1, min(batch_size, len(inputs)))
        if wanted == np.int32 and "preprocessing" in self.metadata:
            self.preprocessing.apply(inputs)
        length = inputs.shape[1] if self.lengths else None
        session = self.session(threads=threads, batch=batch, length=length)
        expected = session.input_details.shape[1:]
        if inputs.shape[1:] != expected:
            raise ValueError(
                f"{self._name} takes {wanted} [examples, {', '.join(map(str, expected))}]. "
                f"Received: {list(inputs.shape)}."
            )
        if not np.isfinite(inputs).all():
            raise ValueError(
                f"run takes finite numbers. Received: {int((~np.isfinite(inputs)).sum())} that are "
                f"NaN or infinite, of {inputs.size}."
            )
        return run_batches(session, inputs)

    def predict(
        self, images: Images, *, threads: int = 1
    ) -> list[Prediction] | list[PredictedValues]:
        """Says what is in raw images or texts: preprocessing and names come from the file.

        Args:
          images: uint8 [batch, height, width, channels] or one image [height, width, channels], 1
            or 3 channels (RGB), of any size; or the path of an image file; or a list of these. Of a
            file for texts, a text or a list of them; their tokenizer's file, `tokenizer.json`, must
            lie beside the artifact.
          threads: processor threads.

        Returns:
          one prediction for each image or text: a `Prediction` of a file of classes,
          `PredictedValues` of a regression's.

        Raises:
          ValueError: an image of another type or shape, a file that lacks the metadata, or outputs
            that are not finite.
          TokenizerError: the tokenizer's file is missing, damaged, or not the one that the model
            was trained with.
          FileNotFoundError: an image file that is not there.
        """
        preprocessing, names, output = self._use()
        if isinstance(preprocessing, Tokenization):
            inputs = self._token_ids(images, preprocessing)
        else:
            batches = [preprocessing.apply(batch) for batch in raw_batches(images)]
            inputs = np.concatenate(batches) if batches else np.empty([0], np.float32)
        if not len(inputs):
            return []
        outputs = self._run_by_length(inputs, threads=threads)
        return answers.of_outputs(outputs, names, output, source=self._name)

    def _run_by_length(self, inputs: np.ndarray, *, threads: int) -> np.ndarray:
        groups = self.by_length(inputs)
        outputs = [
            self.run(cut(inputs[places], length), threads=threads) for places, length in groups
        ]
        numbers = np.arange(len(inputs))
        order = np.argsort(np.concatenate([numbers[places] for places, _ in groups]))
        found: np.ndarray = np.concatenate(outputs)[order]
        return found

    @cached_property
    def _input_dtype(self) -> np.dtype:
        """What `run` takes: ids of tokens as they are, all else as real numbers."""
        own = self.session().input_details
        wide = own.scale is None and own.dtype.kind in "iu" and own.dtype.itemsize > 1
        return own.dtype if wide else np.dtype(np.float32)

    def _token_ids(self, texts: Any, tokenization: Tokenization) -> np.ndarray:
        """Texts as this file reads them, by the tokenizer that lies beside it."""
        if isinstance(texts, str):
            texts = [texts]
        if not isinstance(texts, list | tuple):
            raise ValueError(
                f"{self._name} takes a text or a list of texts. Received: {type(texts).__name__}."
            )
        tokenizer = self._tokenizer(tokenization.tokenizer_sha256)
        return tokenizer.token_ids(texts, length=tokenization.length).ids

    def _tokenizer(self, sha256: str) -> Tokenizer:
        if self.path is None:
            raise TokenizerError(
                f"predict reads {TOKENIZER_FILE} beside the file, which was not saved yet. Save "
                "the artifact into the folder that holds it, or use run with ids of tokens."
            )
        return Tokenizer.beside(self.path.parent, sha256=sha256, what=self._name)

    @property
    def preprocessing(self) -> Preparation:
        """What happens to a raw image or text before this file sees it.

        Raises:
          ValueError: the file carries no such metadata, or malformed ones.
        """
        return preprocessing_of(self._required("preprocessing"), name=self._metadata_name)

    @property
    def output(self) -> str:
        """What the file's outputs are: `"logits"`, `"probabilities"` or `"values"`.

        Raises:
          ValueError: the file carries no such metadata, or an unknown kind.
        """
        kind = self._required("output")
        if kind not in OUTPUT_KINDS:
            raise ValueError(
                f"The metadata of {self._name} says output {kind!r}. "
                f"Known: {', '.join(OUTPUT_KINDS)}."
            )
        return str(kind)

    def _use(self) -> tuple[Preparation, tuple[str, ...], str]:
        preprocessing = self.preprocessing
        values = self.metadata.get("output") == VALUES
        read, key = (targets_of, "targets") if values else (labels_of, "labels")
        return preprocessing, read(self._required(key), name=self._metadata_name), self.output

    @property
    def _metadata_name(self) -> str:
        return f"The metadata of {self._name}"

    def _required(self, key: str) -> Any:
        if key not in self.metadata:
            raise ValueError(
                f"{self._name} carries no {key!r} in its metadata (found: "
                f"{', '.join(self.metadata) or 'none'}). Files that tfcompress exports carry it; "
                "for another file call with_metadata({'preprocessing': ..., 'labels': [...], "
                "'output': 'logits'}) and save it, or use run with preprocessed images."
            )
        return self.metadata[key]


def cut(inputs: np.ndarray, length: int | None) -> np.ndarray:
    """Texts without what stands behind a length; all as they are where there is none."""
    return inputs if length is None else inputs[:, :length]


def run_batches(session: Session, inputs: np.ndarray) -> np.ndarray:
    """Runs preprocessed examples in batches of the session's size; the last is filled with zeros.

    Args:
      session: of the file.
      inputs: float32 [examples, height, width, channels], or ids of tokens, int32 [examples,
        length].

    Returns:
      float32 [examples, classes], dequantized.
    """
    batch = session.input_details.shape[0]
    outputs = np.empty([len(inputs), *session.output_details.shape[1:]], np.float32)
    for start in range(0, len(inputs), batch):
        part = session.input_details.quantize(inputs[start : start + batch])
        count = len(part)
        if count < batch:
            part = np.concatenate([part, np.zeros([batch - count, *part.shape[1:]], part.dtype)])
        outputs[start : start + count] = session.output_details.dequantize(session.run(part))[
            :count
        ]
    return outputs
