"""What is tried on one family of networks: load each form, compress, export, compare.

Knows what one row of the coverage table holds. A step that fails becomes an entry with the reason,
and the others go on. Does not know how the table is shown.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments import networks
from experiments.networks import Images
from tfcompress import compose, export, planned_stages, recipe, training
from tfcompress._keras import keras, tfmot
from tfcompress.artifact import Artifact
from tfcompress.goals import Classes
from tfcompress.graph import cost, loading
from tfcompress.planned_stages import PlannedStage
from tfcompress.results import CompressionReport

RECIPES = {
    "prune": "prune(0.5, schedule=constant)",
    "cluster": "cluster(16)",
    "qat": "qat",
    "PCQAT": "prune(0.5, schedule=constant)+cluster(16)+qat",
    "distill": "distill",
    "prune_channels": "prune_channels(0.3)",
    "factorize": "factorize(target=0.15)",
    "ptq": "ptq(rounding=nearest)",
}

TFMOT = ("quantize", "prune", "cluster")

PACKAGES = ("tensorflow", "tf_keras", "keras", "tensorflow-model-optimization", "ai-edge-litert")
SAME_OUTPUTS = 1e-3
"""Forms are equal where their outputs differ by no more than this part of the largest one: the same
float32 arithmetic in another order."""


@dataclass(frozen=True)
class FormResult:
    """One form of the network, brought to the normal form.

    Attributes:
      form: one of `FORMS`.
      error: why it could not be loaded; empty where it was.
      difference: greatest difference to the outputs of the network as Keras built it, as a fraction
        of the greatest output.
      same_as: the first form with the same layers, connections and outputs; itself where it is the
        first.
      converted: whether the model was brought to the form by this package, because Keras 3 has no
        such network.
      pruned: for a form that equals an earlier one, why pruning it with a training step does not
        work; empty where it does.
      tfmot: for each of `TFMOT`, what TF-MOT's own function says; empty where it takes the model.
    """

    form: str
    error: str = ""
    difference: float | None = None
    same_as: str = ""
    converted: bool = False
    pruned: str = ""
    tfmot: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RecipeResult:
    """One recipe on one normal form: a training step for each stage, strip, export, comparison.

    Attributes:
      name: key of `RECIPES`.
      form: the form that it ran on.
      error: what went wrong and in which step; empty where nothing did.
      layers: layers with weights.
      treated: those of them that the last stage treated.
      left_alone: why it did not treat the others, and how many each time.
      operators: of the int8 file.
      integer_operators: those of them whose tensors are all integer.
      examples: images compared.
      top1_agreement: fraction of them with the same top class in file and Keras model.
      max_steps: greatest difference of an output, in steps of the file's output scale.
      mean_steps: mean difference, likewise.
      processor_seconds: of all threads.
    """

    name: str
    form: str
    error: str = ""
    layers: int | None = None
    treated: int | None = None
    left_alone: Mapping[str, int] = field(default_factory=dict)
    operators: int | None = None
    integer_operators: int | None = None
    examples: int | None = None
    top1_agreement: float | None = None
    max_steps: float | None = None
    mean_steps: float | None = None
    processor_seconds: float | None = None


@dataclass(frozen=True)
class FamilyResult:
    """Everything that was tried on one family.

    Attributes:
      network: of `FAMILIES`.
      image_size: height and width of the images.
      parameters: of the network with its head.
      macs: multiply-accumulates of one image.
      forms: one entry for each form asked for.
      recipes: one entry for each recipe and each form that differs from those before it.
      versions: of the packages that took part.
      processor_seconds: of all threads.
    """

    network: str
    image_size: int
    parameters: int
    macs: int
    forms: tuple[FormResult, ...]
    recipes: tuple[RecipeResult, ...]
    versions: Mapping[str, str]
    processor_seconds: float


def tried(network: str, *, forms: Sequence[str], image_size: int, examples: int) -> FamilyResult:
    """Tries everything on one family.

    Args:
      network: of `FAMILIES`.
      forms: of `FORMS`.
      image_size: height and width in pixels.
      examples: images on which file and Keras model are compared.
    """
    started = time.process_time()
    images = networks.load_images(network, image_size=image_size, examples=examples)
    flat = networks.build(network, image_size=image_size)
    networks.settle(flat, images)
    found: list[FormResult] = []
    distinct: dict[str, Any] = {}
    for form in forms:
        result, model = _form(form, flat, images)
        if model is not None:
            equal = (name for name, other in distinct.items() if networks.same(model, other))
            result = dataclasses.replace(result, same_as=next(equal, form))
            if result.same_as == form:
                distinct[form] = model
            else:
                result = dataclasses.replace(result, pruned=_pruned(model, images))
        found.append(result)
    recipes: list[RecipeResult] = []
    for form, model in distinct.items():
        trainer = _Trainer(model, images)
        recipes += [_recipe(name, form, trainer) for name in RECIPES]
    return FamilyResult(
        network=network,
        image_size=image_size,
        parameters=flat.count_params(),
        macs=cost.macs(flat),
        forms=tuple(found),
        recipes=tuple(recipes),
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
        processor_seconds=time.process_time() - started,
    )


def _form(form: str, flat: Any, images: Images) -> tuple[FormResult, Any]:
    """Brings one form of the network to the normal form, and asks TF-MOT about the form itself."""
    converted = form == "keras3" and not networks.in_keras3(flat.name)
    result = FormResult(form, converted=converted)
    try:
        live, opened = networks.given(form, flat)
        result = dataclasses.replace(result, tfmot=_tfmot(live))
        with opened as source:
            model = loading.load_model(source)
        expected, received = (export.inference(m)(images.compared[:8]) for m in (flat, model))
        difference = float(np.abs(expected - received).max() / np.abs(expected).max())
        if difference > SAME_OUTPUTS:
            raise ValueError(f"outputs differ by {difference:.2g} of the largest")
    except Exception as error:  # an entry of the table, whatever it is
        return dataclasses.replace(result, error=reason(error)), None
    return dataclasses.replace(result, difference=difference), model


def _tfmot(model: Any) -> dict[str, str]:
    """What TF-MOT's own functions say about a model; empty where they take it."""
    linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
    calls: dict[str, Callable[[Any], Any]] = {
        "quantize": tfmot.quantization.keras.quantize_model,
        "prune": tfmot.sparsity.keras.prune_low_magnitude,
        "cluster": lambda given: tfmot.clustering.keras.cluster_weights(
            given, number_of_clusters=16, cluster_centroids_init=linear
        ),
    }
    found = {}
    for name, call in calls.items():
        try:
            # quantize_model takes the weights out of the layers of the model that it is given.
            own = keras.models.clone_model(model) if isinstance(model, keras.Model) else model
            # cluster_weights says nothing about what it does not take.
            found[name] = "" if call(own) is not None else "returns None"
        except Exception as error:  # an entry of the table, whatever it is
            found[name] = reason(error)
    return found


def _pruned(model: Any, images: Images) -> str:
    """Why pruning does not work on a form that equals another one; empty where it does."""
    try:
        _Trainer(model, images).after(compose.plan(recipe.parse(RECIPES["prune"])).stages)
    except Exception as error:  # an entry of the table, whatever it is
        return reason(error)
    return ""


def _recipe(name: str, form: str, trainer: _Trainer) -> RecipeResult:
    """Carries a recipe out, and says how far it came."""
    started = time.process_time()
    result = RecipeResult(name, form)
    stages = compose.plan(recipe.parse(RECIPES[name])).stages
    reports, step = [], ""
    try:
        for count in range(1, len(stages) + 1):
            step = f"{stages[count - 1].technique}: "
            model, report = trainer.after(stages[:count])
            reports.append(report)
        layers = reports[-1].layers
        reasons = Counter(without_names(each.reason) for each in layers if not each.treated)
        result = dataclasses.replace(
            result,
            layers=len(layers),
            treated=sum(layer.treated for layer in layers),
            left_alone=dict(reasons.most_common()),
        )
        step = "export: "
        artifact = export.convert(model, "int8", calibration=trainer.images.calibration)
        result = dataclasses.replace(
            result,
            operators=len(artifact.operators),
            integer_operators=artifact.integer_operators,
        )
        step = "the effect in the file: "
        for stage, report in zip(stages, reports, strict=True):
            stage.module.verify_artifact(artifact, report, stage.config)
        step = "comparison: "
        result = _compared(result, artifact, model, trainer.images.compared)
    except Exception as error:  # an entry of the table, whatever it is
        result = dataclasses.replace(result, error=step + reason(error))
    return dataclasses.replace(result, processor_seconds=time.process_time() - started)


class _Trainer:
    """Carries stages out on one model, a step each; what two recipes begin with once."""

    def __init__(self, model: Any, images: Images) -> None:
        self.images = images
        self._model = model
        self._done: dict[tuple[PlannedStage, ...], tuple[Any, CompressionReport]] = {}

    def after(self, stages: tuple[PlannedStage, ...]) -> tuple[Any, CompressionReport]:
        """The model that stages leave, the effect of each counted, and the last one's report."""
        if stages not in self._done:
            before = self.after(stages[:-1])[0] if len(stages) > 1 else self._model
            self._done[stages] = self._trained(stages, before)
        return self._done[stages]

    def _trained(
        self, stages: tuple[PlannedStage, ...], model: Any
    ) -> tuple[Any, CompressionReport]:
        images = self.images
        supplied = {"teacher": self._model, "calibration": images.calibration}
        wrapped = compose.wrap(stages, model, supplied=supplied, steps_per_epoch=1, epochs=1)
        if planned_stages.is_trained(stages[-1]):
            self._fit(wrapped, stages)
        else:
            compose.adjust(stages[-1], wrapped, model, supplied=supplied)
        stripped = compose.strip(stages, wrapped)
        compose.verify(stages, stripped, before=model)
        return stripped, stages[-1].module.report(model, stripped, stages[-1].config)

    def _fit(self, wrapped: Any, stages: tuple[PlannedStage, ...]) -> None:
        images = self.images
        config = training.TrainingConfig(
            epochs=1,
            batch_size=len(images.train),
            optimizer="sgd",
            learning_rate=1e-3,
            schedule="constant",
        )
        seen = (images.train, images.labels)
        batches = training.encoded_batches(
            seen, seen, config, goal=Classes.numbered(networks.CLASSES)
        )
        callbacks = compose.callbacks(stages)
        with tempfile.TemporaryDirectory() as folder:
            training.fit(wrapped, batches, config=config, state_dir=folder, callbacks=callbacks)


def _compared(
    result: RecipeResult, artifact: Artifact, model: Any, images: np.ndarray
) -> RecipeResult:
    parity = export.parity(artifact, model, images, batch_size=32)
    scale = parity.output_scale or np.nan
    return dataclasses.replace(
        result,
        examples=parity.examples,
        top1_agreement=parity.top1_agreement,
        max_steps=parity.max_difference / scale,
        mean_steps=parity.mean_difference / scale,
    )


def reason(error: Exception, *, limit: int = 160) -> str:
    """The first sentence of an error, without what differs from run to run.

    Example:
      >>> reason(ValueError("No <a.b.Rescaling object at 0x7f00>. Pass another."))
      'No Rescaling.'
    """
    said = str(error)
    if said.startswith("in user code"):
        # TensorFlow tells the whole way to what went wrong in a traced function.
        said = [said, *re.findall(r"(?m)^\s+\w*(?:Error|Exception): (.+)", said)][-1]
    text = " ".join(said.split()) or type(error).__name__
    text = re.sub(r"<(?:\S*\.)?(\w+) object at 0x[0-9a-f]+>", r"\1", text)
    first = re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
    return first if len(first) <= limit else first[: limit - 3] + "..."


def without_names(reason: str) -> str:
    """Why a layer was left alone, with the kinds of the layers that it names and no counts.

    Example:
      >>> without_names("norm_1 (LayerNormalization) normalizes; grouped: its 96 groups share none")
      'LayerNormalization normalizes; grouped: its groups share none'
      >>> without_names("a (Add) joins them; b (Add) joins them; no more than clusters (16)")
      'Add joins them; no more than clusters (16)'
    """
    nameless = re.sub(r"\bits \d+", "its", re.sub(r"\S+ \(([A-Za-z_]\w*)\)", r"\1", reason))
    # Of several, those that differed by names only.
    return "; ".join(dict.fromkeys(nameless.split("; ")))
