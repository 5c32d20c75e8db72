"""CIFAR-10 in 98,496 bytes: EfficientNet-Lite0 transferred, and a student in an int8 file.

    python -m experiments.compress --config=cifar10_budget --output_dir=runs/cifar10_budget
    python -m experiments.minimize --nobias_scales --output_dir=runs/cifar10_budget/minimal \
      --artifact=runs/cifar10_budget/artifacts/distill+qat-int8.tflite

The budget is the int8 file of MLPerf Tiny's ResNet-8, which has 87.0%. The teacher sees the images
at 64x64 pixels, its student at 32x32. Expected, of one seed: 91.8% for the teacher, 91.2% for the
student, in 97,093 bytes without the scales of biases, after two hours on two cores. The student
learns from random weights, by SGD: under Adam, which suits the teacher's transfer, it ended two
points lower, after half as many epochs (`RESULTS.md`).
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.data.pipeline import AugmentationConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig

_STUDENT = (
    "distill(student=ds_resnet, student_image_size=32, views=12, epochs=105, "
    "optimizer=sgd, learning_rate=0.1, weight_decay=0.002)"
)
_INTEGERS = "qat(epochs=4, learning_rate=0.0003)"


def get_config() -> RunConfig:
    """Eight epochs for the teacher, 105 for the student, four more for integers."""
    return RunConfig(
        data=DataConfig(name="cifar10"),
        backbone=BackboneConfig(name="efficientnet_lite0", image_size=64),
        training=TrainingConfig(
            epochs=8, augmentation=AugmentationConfig(flip=True, crop_padding=4)
        ),
        recipes=(f"{_STUDENT}+{_INTEGERS}",),
        export=ExportConfig(minimal=True),
    )
