import gzip
import hashlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from tfcompress._keras import tf

PICTURES = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1), np.uint8)
CONTENT = gzip.compress(PICTURES.tobytes(), mtime=0)


@pytest.fixture(scope="session")
def tiny_builder():
    """A TFDS builder that TFDS knows as `tiny_pictures`: 20 training and 10 test images."""
    tf.constant(0)
    import tensorflow_datasets as tfds

    class TinyPictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        URL = "http://localhost:1/pictures.bin.gz"
        url_infos = {  # noqa: RUF012
            URL: tfds.download.checksums.UrlInfo(
                size=len(CONTENT),
                checksum=hashlib.sha256(CONTENT).hexdigest(),
                filename="pictures.bin.gz",
            )
        }

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                description="Random pictures.",
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(4, 4, 1)),
                        "label": tfds.features.ClassLabel(names=["even", "odd"]),
                    }
                ),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            path = Path(dl_manager.download_and_extract(self.URL))
            pictures = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 4, 4, 1)
            return {
                "train": self._generate_examples(pictures[:20]),
                "test": self._generate_examples(pictures[20:]),
            }

        def _generate_examples(self, pictures):
            for index, picture in enumerate(pictures):
                yield index, {"image": picture, "label": index % 2}

    return TinyPictures


def mirror(folder):
    """Stands for a package that holds the file."""
    path = Path(folder) / "unpacked.bin"
    path.write_bytes(PICTURES.tobytes())
    return {"http://localhost:1/pictures.bin.gz": path}


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Replaces PATH by a folder, and puts shell scripts there."""
    folder = tmp_path / "programs"
    folder.mkdir()
    system = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(folder))

    def put(name, script):
        path = folder / name
        path.write_text(f"#!/bin/sh\nPATH='{system}'\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put
