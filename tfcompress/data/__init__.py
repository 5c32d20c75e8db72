"""Data sets: where they come from, how they are split, and how they reach a model.

    dataset = load(DataConfig(name="cifar10"))

`sets/` has one file a data set, `sources/` one file a source, `pipeline` the batches, `encoding`
the cache of encoded images. TensorFlow is imported when work begins.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from tfcompress import registry
from tfcompress.data import resizing, splitting, texts
from tfcompress.data.dataset import TEXT, DataConfig, Dataset, Split
from tfcompress.data.texts import Tokenize
from tfcompress.goals import CLASSIFICATION

__all__ = [
    "DataConfig",
    "Dataset",
    "Split",
    "check",
    "is_text",
    "load",
    "names",
    "require_images",
    "tasks",
]

# Of texts that were published without a test split, as of images in folders.
_TEST_FRACTION, _TEST_SEED = 0.2, 0

# NAME, NAME/CONFIGURATION, and either with :VERSION.
_TFDS_NAME = re.compile(r"[A-Za-z_]\w*(/[\w.+-]+)?(:[\w.*]+)?")


def names() -> tuple[str, ...]:
    """The data sets and forms that have a module, as they are written in `DataConfig.name`.

    Every image-classification name of TFDS works as well, and with the task text every name of one
    that classifies single texts.

    Example:
      >>> "cifar10" in names(), "folder:DIR" in names()
      (True, True)
    """
    known = []
    for name in registry.names("data/sets"):
        placeholder = getattr(_module(name), "ARGUMENT", "")
        known.append(f"{name}:{placeholder}" if placeholder else name)
    return tuple(known)


def check(config: DataConfig) -> None:
    """Finds what is wrong with a config as far as that shows without TensorFlow, in about a second.

    Raises:
      UnknownNameError: no such data set; the message lists the known ones.
      ValueError: a form without its argument, a path that does not exist, a source for a data
        set that does not come from TFDS, or a task that it is not.
    """
    _resolve(config)


def tasks(config: DataConfig) -> tuple[str, ...]:
    """The tasks that a data set may turn out to be, as far as that shows without reading it.

    Example:
      >>> tasks(DataConfig(name="mnist_sample")), tasks(DataConfig(name="mnist_rotation"))
      (('classification',), ('regression',))
    """
    known: tuple[str, ...] = getattr(_resolve(config)[0], "TASKS", (CLASSIFICATION,))
    return known if config.task in ("auto", TEXT) else (config.task,)


def is_text(config: DataConfig) -> bool:
    """Whether a data set is one of texts, as far as that shows without reading it.

    Example:
      >>> is_text(DataConfig(name="imdb_reviews", task="text"))
      True
    """
    return getattr(_resolve(config)[0], "IS_TEXT", False)


def require_images(config: DataConfig, *, what: str) -> None:
    """Refuses a data set of texts, as far as that shows without reading it.

    Args:
      config: which one.
      what: needs images, for the message.

    Raises:
      ValueError: it is one of texts, or what `check` finds.
    """
    if is_text(config):
        raise ValueError(
            f"{what} takes images. Received: data set {config.name!r}, of texts. Pass one of "
            "images."
        )


def load(
    config: DataConfig,
    *,
    tokenize: Tokenize | None = None,
    note: Callable[[str], None] | None = None,
) -> Dataset:
    """Loads a data set into memory and splits it.

    Args:
      config: which one.
      tokenize: brings texts to what a model reads; for data sets of texts, and for these only.
      note: told how many texts were cut.

    Raises:
      ValueError: what `check` finds, no source that has the data set (`SourceUnavailableError`),
        data that cannot be used, texts without a tokenizer, or images with one.
    """
    module, argument = _resolve(config)
    if is_text(config) != (tokenize is not None):
        had, needs = ("texts", "a text encoder") if tokenize is None else ("images", "a network")
        raise ValueError(
            f"Data set {config.name!r} is of {had}. Expected {needs} for {had} as the backbone."
        )
    if tokenize is None:
        published = resizing.published_to(module.published(config, argument), config.image_size)
        return splitting.carve(published, config)
    published, cut = texts.tokenized(
        module.published(config, argument),
        tokenize,
        hold_out=lambda split: splitting.hold_out(split, fraction=_TEST_FRACTION, seed=_TEST_SEED),
    )
    if note is not None:
        parts = (published.train, published.test, published.validation or ())
        count = sum(map(len, parts))
        length = published.train.examples.shape[1]
        note(f"{cut:,} of {count:,} texts are longer than {length} tokens and were cut")
    return splitting.carve(published, config)


def _resolve(config: DataConfig) -> tuple[ModuleType, str]:
    """The module that serves a name, and its argument."""
    name, _, argument = config.name.partition(":")
    if name not in registry.names("data/sets"):
        _require_tfds_name(config)
        kind = "_tfds_text" if config.task == TEXT else "_tfds_name"
        module, argument = _module(kind), config.name
        _require_task(config, module)
        return module, argument
    module = _module(name)
    _require_task(config, module)
    placeholder = getattr(module, "ARGUMENT", "")
    if bool(argument) != bool(placeholder):
        expected = f"{name}:{placeholder}" if placeholder else name
        raise ValueError(f"Data set {config.name!r} must be written as {expected}.")
    # A shell leaves a tilde after the colon as it is.
    path = Path(argument).expanduser()
    if argument and not path.exists():
        raise ValueError(f"Data set {config.name!r}: {path.absolute()} does not exist.")
    source = getattr(module, "SOURCE", "")
    if source and config.source != "auto":
        raise ValueError(
            f"DataConfig.source={config.source!r} is for data sets of TFDS. {name} has one source, "
            f"{source}: leave source at 'auto'."
        )
    return module, str(path) if argument else ""


def _require_task(config: DataConfig, module: ModuleType) -> None:
    known = getattr(module, "TASKS", (CLASSIFICATION,))
    of_texts = getattr(module, "IS_TEXT", False)
    if of_texts and config.image_size:
        raise ValueError(
            f"Data set {config.name!r} is of texts, which have no size in pixels. "
            f"Received: image_size {config.image_size}. Leave it at 0."
        )
    if config.task == TEXT and not of_texts:
        raise ValueError(
            f"Data set {config.name!r} is of images. Received: task text, which a backbone for "
            "texts has of itself. Take one for images and leave the task out, or bring texts of "
            "your own as text:FILE."
        )
    if config.task not in ("auto", TEXT, *known):
        raise ValueError(
            f"Data set {config.name!r} is a {known[0]}. Received: task {config.task}. "
            f"Leave the task out, or bring images and labels of your own as npz:FILE."
        )


def _require_tfds_name(config: DataConfig) -> None:
    # Lists names without importing TensorFlow.
    import tensorflow_datasets as tfds

    base = config.name.partition(":")[0].partition("/")[0]
    known = tfds.list_builders(with_community_datasets=False)
    prepared = Path(config.data_dir or tfds.core.constants.DATA_DIR).expanduser() / base
    # The name becomes a part of a path: `..` must not lead out of the directory.
    is_name = _TFDS_NAME.fullmatch(config.name) is not None and ".." not in config.name
    if is_name and (base in known or prepared.is_dir()):
        return
    close = difflib.get_close_matches(base, (*names(), *known), n=5)
    hint = f" Of a similar name: {', '.join(close)}." if close else ""
    raise registry.UnknownNameError(
        f"Unknown data set: {config.name!r}. Known: {', '.join(names())}, and every "
        f"image-classification name of TFDS; with the task text, those of texts.{hint}"
    )


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"tfcompress.data.sets.{name}")
