"""Fine-tunes a text encoder: where a run begins whose --backbone is one.

    python -m experiments.compress --config=text --dataset=text:train.tsv --recipe="prune(0.5)"

The rates are those that BERT is fine-tuned with (Devlin et al. 2019, appendix A.3), and the length
that of a sentence.
"""

from __future__ import annotations

from tfcompress.backbones import TextConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig


def get_config() -> RunConfig:
    """Three epochs on GLUE's SST-2, in batches of 32, at most at 5e-5."""
    return RunConfig(
        data=DataConfig(name="glue/sst2", task="text"),
        backbone=TextConfig(name="minilm_l6"),
        training=TrainingConfig(
            epochs=3, batch_size=32, optimizer="adamw", learning_rate=5e-5, warmup=0.1
        ),
        stage_training=StageTrainingConfig(epochs=1),
        # An int8 file of the converter can lose an encoder altogether: only where it is asked for.
        export=ExportConfig(formats=("float32", "dynamic")),
    )
