"""The files of a run: exported from its models, verified, made minimal, kept in its folder.

Knows which files a recipe leaves and what is counted in each. Does not know the order of a run, nor
how well a file answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcompress import checkpoint, compose, durable, export, minimal, parity_limits
from tfcompress.artifact import Artifact
from tfcompress.config import BASELINE, RunConfig
from tfcompress.planned_stages import PlannedStage
from tfcompress.progress import Reporter
from tfcompress.results import ArtifactResult, Parity
from tfcompress.run_folder import RunFolder
from tfcompress.stages import StageTrainer
from tfcompress.supplies import Supplies

_PARITY_EXAMPLES = 1000


@dataclass(frozen=True)
class Candidate:
    """A file to export, with the model it is made from and that model's name.

    Attributes:
      name: of the file, such as `"prune-int8"`.
      title: of the model, such as `"prune"`.
      model: that one.
      format: one of `export.FORMATS`.
      stages: that made the model; none of the baseline.
      inputs: what its examples are brought to, and calibrated with.
    """

    name: str
    title: str
    model: Any
    format: str
    stages: tuple[PlannedStage, ...]
    inputs: Supplies


class FileMaker:
    """Makes the files of a run, each once.

    Args:
      config: all settings.
      folder: of the run.
      trainer: gives the models.
      reporter: told of the progress.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, *, trainer: StageTrainer, reporter: Reporter
    ) -> None:
        self._config = config
        self._folder = folder
        self._trainer = trainer
        self._reporter = reporter

    def candidates(self, baseline: Any) -> list[Candidate]:
        """Every file: the baseline and each recipe, in every format it is asked for.

        Raises:
          NothingToGain, OutOfReach: no recipe leaves a model.
        """
        formats = self._config.export.formats
        inputs = self._trainer.supplies()
        found = [
            Candidate(f"{BASELINE}-{name}", BASELINE, baseline, name, (), inputs)
            for name in formats
        ]
        self._save(BASELINE, baseline)
        for title, plan, model in self._trainer.models():
            self._save(title, model)
            names = {item.name for item in found}
            found += [
                Candidate(
                    f"{title}-{name}",
                    title,
                    model,
                    name,
                    plan.stages,
                    self._trainer.supplies(plan.stages),
                )
                for name in self._formats(plan)
                if f"{title}-{name}" not in names
            ]
        return found

    def _formats(self, plan: compose.Plan) -> tuple[str, ...]:
        """Of the files that a recipe leaves."""
        if compose.quantizes(plan.stages):
            # Its fake-quantization becomes integers in this format only.
            return ("int8",)
        return plan.formats or self._config.export.formats

    def draft(self) -> Artifact:
        """The file of the run's first recipe before any training, which is kept nowhere.

        It has the size and the speed of the real one to a few percent: `qat` and `ptq` are left
        to the converter, whose files are a little smaller.

        Raises:
          ValueError, RuntimeError: there is none, since a stage does nothing without a training.
        """
        plan, title = self._config.plans[0], self._config.titles[0]
        name, inputs = self._formats(plan)[0], self._trainer.supplies(plan.stages)
        model = self._trainer.draft(plan.stages)
        item = Candidate(title, title, model, name, plan.stages, inputs)
        artifact, config = self._converted(item), self._config.export
        return self._minimized(title, artifact).artifact if config.minimal else artifact

    def _save(self, name: str, model: Any) -> None:
        """Keeps a plain Keras model, to go on with; a quantization-aware one is its int8 file."""
        path = self._folder.model(name)
        if export.is_quantization_aware(model):
            return

        def make(path: Path) -> None:
            with durable.whole_file(path) as temporary, _without_optimizer(model):
                model.save(temporary)

        self._folder.keep_file(path, checkpoint.weights_sha256(model), make)

    def exported(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, ArtifactResult]]:
        """Each candidate with what is known of its file, which is not made again where it lies."""
        self._reporter.stage("export", ", ".join(item.name for item in candidates))
        self._save_tokenizers(candidates)
        return [(item, self._export_one(item)) for item in candidates]

    def _save_tokenizers(self, candidates: Sequence[Candidate]) -> None:
        """Puts the tokenizers of texts beside the files: a file is of no use without."""
        folder, plain = self._folder.artifact(BASELINE).parent, self._trainer.supplies().tokenizer
        for tokenizer in dict.fromkeys(item.inputs.tokenizer for item in candidates):
            if tokenizer is None:
                continue
            path = tokenizer.save(folder, own_name=tokenizer != plain)
            self._reporter.note(
                f"{path.name}: {path.stat().st_size:,} bytes, {tokenizer.vocabulary:,} tokens"
            )

    def _export_one(self, item: Candidate) -> ArtifactResult:
        path = self._folder.artifact(item.name)
        record = path.with_suffix(".json")
        made_from = checkpoint.weights_sha256(item.model)

        def make() -> ArtifactResult:
            return self._export_anew(item)

        found = self._folder.kept(record, made_from, ArtifactResult, make)
        if not path.exists() or durable.sha256_of_file(path) != found.sha256:
            record.unlink()
            found = self._folder.kept(record, made_from, ArtifactResult, make)
        return found

    def _export_anew(self, item: Candidate) -> ArtifactResult:
        path, config = self._folder.artifact(item.name), self._config.export
        artifact = self._converted(item)
        sample = item.inputs.dataset.validation.examples[:_PARITY_EXAMPLES]
        inputs = item.inputs.preprocessing.apply(sample)
        parity, *shorter = (
            export.parity(artifact, item.model, inputs, length=length)
            for length in (None, *artifact.lengths[:-1])
        )
        for found in (parity, *shorter):
            parity_limits.require_parity(found, item.format, name=item.name)
        self._verify_file(item, artifact)
        # After the effects were counted, which goes by the names of tensors.
        minimized = self._minimized(item.name, artifact) if config.minimal else None
        artifact = artifact if minimized is None else minimized.artifact
        counts = artifact.distinct_weights().values()
        row = ArtifactResult(
            name=item.name,
            path=self._folder.relative(path),
            sha256=artifact.sha256,
            stages=compose.techniques(item.stages),
            model=item.title,
            format=item.format,
            **facts_of(artifact),
            **cost_of(item.model),
            parity=parity,
            distinct_weights=max((count.in_channel for count in counts), default=None),
            minimal_steps=None if minimized is None else minimized.steps,
            shorter_parity=tuple(shorter),
        )
        artifact.save(path)
        self._reporter.note(f"{item.name}: {row.size_bytes:,} bytes, {_agreement(parity)}")
        return row

    def _converted(self, item: Candidate) -> Artifact:
        config, goal = self._config.export, item.inputs.dataset.goal
        return export.convert(
            item.model,
            item.format,
            calibration=item.inputs.calibration,
            metadata={
                "preprocessing": item.inputs.preprocessing,
                goal.named_in_files: list(goal.names),
                "stages": list(compose.techniques(item.stages)),
            },
            sparse=config.sparse and item.format == "float32",
            dense_per_channel=config.dense_per_channel,
        )

    def _minimized(self, name: str, artifact: Artifact) -> minimal.Minimized:
        config = self._config.export
        found = minimal.minimize_or_keep(
            artifact, bias_scales=config.bias_scales, sparse=config.sparse
        )
        for step in found.refused:
            self._reporter.note(f"{name}: not made smaller by {step.name}: {step.refused}")
        return found

    def _verify_file(self, item: Candidate, artifact: Artifact) -> None:
        """Counts in the file what each stage of its recipe made."""
        stages = item.stages
        split: set[str] = set()
        for count in range(len(stages), 0, -1):
            stage, done = stages[count - 1], self._trainer.done(stages[:count])
            # Of several rounds the last one says what is left.
            if count == len(stages) or stages[count].technique != stage.technique:
                report = done.report
                if stage.technique in compose.RESHAPING:
                    left = tuple(layer for layer in report.layers if layer.name not in split)
                    report = dataclasses.replace(report, layers=left)
                stage.module.verify_artifact(artifact, report, done.stages[-1].config)
            if stage.technique in compose.SPLITTING:
                split |= {layer.name for layer in done.report.layers if layer.treated}


@contextmanager
def _without_optimizer(model: Any) -> Iterator[None]:
    """Keeps out of a model's file what its training alone needed: of Adam, twice its weights."""
    optimizer = getattr(model, "optimizer", None)
    try:
        model.optimizer = None
        yield
    finally:
        model.optimizer = optimizer


def _agreement(parity: Parity) -> str:
    """How far a file agrees with its Keras model, in words."""
    images = f"{parity.examples:,} examples of validation"
    if parity.top1_agreement is not None:
        share = f"{parity.top1_agreement:.1%}"
        return f"same top class as the Keras model in {share} of {images}"
    return (
        f"within {parity.max_difference:.3g} of the Keras model on {images}, "
        f"{parity.mean_difference:.3g} on average"
    )


def facts_of(artifact: Artifact) -> dict[str, Any]:
    """What a file's bytes tell, as fields of `ArtifactResult`."""
    return {
        "size_bytes": artifact.size_bytes,
        "gzip_size_bytes": artifact.gzip_size_bytes,
        "sparsity": artifact.sparsity(),
        "integer_operators": artifact.integer_operators,
        "operators": len(artifact.operators),
    }


def cost_of(model: Any) -> dict[str, Any]:
    """What a model costs, as fields of `ArtifactResult`."""
    from tfcompress.graph import cost

    return {"parameters": cost.parameters(model), "macs": cost.macs(model)}
