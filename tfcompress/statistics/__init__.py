"""Pure functions over stored predictions and stored samples.

Knows how accuracy, its uncertainty, a paired difference and all that a report says follows from raw
outputs and labels. Does not know where the outputs came from or how a number is shown. No
TensorFlow, no files; what draws random numbers takes a seed.
"""

from tfcompress.statistics.classes import ClassChange, per_class_change
from tfcompress.statistics.detection import Confidences, auroc, auroc_difference_interval
from tfcompress.statistics.outputs import correct, probabilities, softmax
from tfcompress.statistics.paired import (
    Comparison,
    compare,
    mcnemar_p_value,
    paired_counts,
    paired_difference_interval,
)
from tfcompress.statistics.proportions import accuracy_with_interval, wilson_interval
from tfcompress.statistics.robustness import (
    RightAnswers,
    RobustnessComparison,
    UnderCorruption,
    compare_robustness,
    mean_error_ratio,
)
from tfcompress.statistics.seeds import SeedSummary, summarize_seeds

__all__ = [
    "ClassChange",
    "Comparison",
    "Confidences",
    "RightAnswers",
    "RobustnessComparison",
    "SeedSummary",
    "UnderCorruption",
    "accuracy_with_interval",
    "auroc",
    "auroc_difference_interval",
    "compare",
    "compare_robustness",
    "correct",
    "mcnemar_p_value",
    "mean_error_ratio",
    "paired_counts",
    "paired_difference_interval",
    "per_class_change",
    "probabilities",
    "softmax",
    "summarize_seeds",
    "wilson_interval",
]
