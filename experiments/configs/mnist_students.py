"""LeNet-5 on MNIST, distilled into networks whose int8 files are 100 and 200 times smaller.

    for seed in 0 1 2; do
      python -m experiments.compress --config=mnist_students --seed=$seed \
        --output_dir=runs/mnist_students/$seed
      python -m experiments.minimize --nobias_scales \
        --output_dir=runs/mnist_students/$seed/minimal \
        --artifact=$(ls runs/mnist_students/$seed/artifacts/distill*.tflite | paste -sd,)
    done
    runs=runs/mnist_students; python -m experiments.report --compare=$runs/0,$runs/1,$runs/2

The factor is the raw bytes of the minimal int8 file against LeNet-5's 1,724,320 bytes of float32
weights: 107.5 and 197.9 for the run's own files, 118.0 and 219.6 without the scales of biases,
which processors do not read. Errors with their spread over the seeds stand in `RESULTS.md`.
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.data.pipeline import AugmentationConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig

_STUDENT = "distill(student=ds_cnn, student_width={width}, epochs=40, learning_rate=0.004)"
_INTEGERS = "qat(epochs=6, learning_rate=0.0004)"


def get_config() -> RunConfig:
    """Twelve epochs for the teacher, forty for each student, six more for integers."""
    return RunConfig(
        data=DataConfig(name="mnist"),
        backbone=BackboneConfig(name="lenet5"),
        training=TrainingConfig(epochs=12, augmentation=AugmentationConfig(crop_padding=2)),
        recipes=tuple(f"{_STUDENT.format(width=width)}+{_INTEGERS}" for width in (0.875, 1.5)),
        export=ExportConfig(minimal=True),
    )
