"""What each stage of a run starts from and reads: students, tokenizers, examples.

Knows which model a stage is given and which examples that model takes. Trains nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tfcompress import backbones, compose, data
from tfcompress.backbones import TextConfig
from tfcompress.config import RunConfig
from tfcompress.planned_stages import PlannedStage
from tfcompress.preprocessing import Preprocessing
from tfcompress.progress import Reporter
from tfcompress.shared_folder import SharedFolder
from tfcompress.supplies import Supplies
from tfcompress.techniques import distill
from tfcompress.tokenization import Preparation, Tokenization
from tfcompress.tokenizer import Tokenizer
from tfcompress.vocabulary import TokenUsage


class Starts:
    """Models to start from, made anew each time, and what they are given, made once.

    Args:
      config: all settings of the run.
      folder: where what was found out lies.
      source: what the baseline starts from.
      dataset: of the baseline's examples.
      reporter: told of what is made.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: SharedFolder,
        *,
        source: backbones.Source,
        dataset: data.Dataset,
        reporter: Reporter,
    ) -> None:
        self._config = config
        self._folder = folder
        self._source = source
        self._dataset = dataset
        self._reporter = reporter
        self._supplies: dict[Preparation, Supplies] = {}
        self._tokenizer = backbones.tokenizer_of(source)
        self._tokenizers: dict[tuple[PlannedStage, ...], Tokenizer | None] = {}

    def supplies(self, stages: Sequence[PlannedStage] = ()) -> Supplies:
        """What the run gives to a model; a student may take images of its own size.

        Args:
          stages: that the model went through; none for the baseline.
        """
        student = _student_of(stages[:1])
        if student is None or not student.student_image_size:
            preprocessing = self._source.preprocessing(self._dataset.example_shape)
        else:
            config = self._image_student(student)
            preprocessing = backbones.preprocessing(config, self._dataset.image_shape)
        tokenizer = self._other_tokenizer(tuple(stages))
        if tokenizer is not None:
            assert isinstance(preprocessing, Tokenization), "RunConfig refuses it for images"
            preprocessing = tokenizer.tokenization(
                preprocessing.length, shorter=preprocessing.shorter
            )
        if preprocessing not in self._supplies:
            self._supplies[preprocessing] = Supplies(
                self._config,
                self._folder,
                self._dataset if tokenizer is None else self._cut_up_by(tokenizer),
                preprocessing,
                self._reporter,
                tokenizer=tokenizer or self._tokenizer,
                usage=self._usage,
            )
        return self._supplies[preprocessing]

    def _other_tokenizer(self, stages: tuple[PlannedStage, ...]) -> Tokenizer | None:
        """The tokenizer of what stages leave, where they change it; made once."""
        if stages not in self._tokenizers:
            found = compose.tokenizer(stages, supplied={"usage": self._usage})
            self._tokenizers[stages] = found
        return self._tokenizers[stages]

    @cached_property
    def _usage(self) -> TokenUsage | None:
        """Of texts, how often the training split has each token of the baseline's tokenizer."""
        if self._tokenizer is None:
            return None
        return TokenUsage.of(self._tokenizer, self._dataset.train.examples)

    def _cut_up_by(self, tokenizer: Tokenizer) -> data.Dataset:
        """The run's texts as ids of another tokenizer, the same ones in the same order."""
        (length,) = self._dataset.example_shape
        self._reporter.note(f"texts cut up anew into {tokenizer.vocabulary:,} tokens")
        found = data.load(
            self._config.data,
            tokenize=lambda texts: tokenizer.token_ids(texts, length=length),
            note=self._reporter.note,
        )
        if not found.has_order_of(self._dataset):
            raise ValueError(
                f"The texts of {self._config.data.name!r} have changed while the run was at work. "
                "Bring them back as they were and give the command again."
            )
        return found

    def supplied(self, stages: Sequence[PlannedStage], baseline: Any) -> dict[str, Any]:
        """What the run gives to the model of some stages, whose teacher reads what it reads.

        Args:
          stages: that the model goes through.
          baseline: the teacher, which reads the tokens of its own tokenizer.
        """
        teacher = compose.teacher(stages, baseline, supplied={"usage": self._usage})
        return self.supplies(stages).of(teacher)

    def student(self, stages: Sequence[PlannedStage], model: Any) -> Any:
        """The model that a stage starts from: a new student where a distillation names one.

        Args:
          stages: the last of them is the one that starts.
          model: what those before it left, or the baseline.
        """
        brought = _student_of(stages[-1:])
        if brought is None:
            return model
        goal, seed = self._dataset.goal, self._config.seed
        if isinstance(self._source, backbones.TextNetwork):
            if brought.student != distill.ENCODER:
                return self._source.build_other(brought.student, goal=goal, seed=seed)
            layers, width = brought.student_layers, brought.student_width
            return self._source.build_smaller(
                model, layers=layers, width=width, goal=goal, seed=seed
            )
        config, preprocessing = self._image_student(brought), self.supplies(stages).preprocessing
        assert isinstance(preprocessing, Preprocessing), "a network for images takes images"
        shape = preprocessing.image_shape
        if backbones.preprocessing(config, shape) == preprocessing:
            config = dataclasses.replace(config, weights="default")
        return backbones.build_model(config, goal=goal, image_shape=shape, seed=seed)

    def _image_student(self, brought: Any) -> backbones.BackboneConfig:
        """The network for images that a distillation's config names."""
        shape = self._source.preprocessing(self._dataset.image_shape)
        assert isinstance(shape, Preprocessing), "RunConfig refuses students for images with texts"
        assert not isinstance(self._config.backbone, TextConfig)
        return backbones.BackboneConfig(
            name=brought.student,
            weights="none",
            width=brought.student_width,
            image_size=brought.student_image_size or shape.image_shape[0],
            batch_norm_momentum=self._config.backbone.batch_norm_momentum,
        )


def _student_of(stage: Sequence[PlannedStage]) -> Any:
    """The config of a stage that is a distillation with a student of its own; None of others."""
    if not stage or stage[0].technique != "distill" or not stage[0].config.student:
        return None
    return stage[0].config
