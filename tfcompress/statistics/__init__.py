"""Pure functions over stored predictions and stored samples.

Knows how accuracy, its uncertainty, a paired difference and all that a report says follows from raw
outputs and labels. Does not know where the outputs came from or how a number is shown. No
TensorFlow, no files; what draws random numbers takes a seed.
"""

from tfcompress.statistics.bootstrap import (
    BootstrapDifference,
    bootstrap_interval,
    paired_bootstrap,
)
from tfcompress.statistics.calibration import (
    Calibration,
    ReliabilityBin,
    expected_calibration_error,
    reliability_bins,
    summarize_calibration,
)
from tfcompress.statistics.classes import ClassChange, per_class_change
from tfcompress.statistics.comparisons import (
    DetectableDifference,
    holm,
    smallest_detectable_difference,
)
from tfcompress.statistics.confusions import (
    ConfusionChange,
    confusion_change,
    largest_confusion_changes,
)
from tfcompress.statistics.decisions import BETTER, LEVEL, NOT_SHOWN, WORSE, Decision, decide
from tfcompress.statistics.detection import Confidences, auroc, auroc_difference_interval
from tfcompress.statistics.flips import Flips, count_flips, telling_changes
from tfcompress.statistics.identified import IdentifiedExamples, identified_examples
from tfcompress.statistics.outputs import (
    correct,
    normalized_probabilities,
    predicted_classes,
    probabilities,
    softmax,
)
from tfcompress.statistics.paired import (
    Comparison,
    compare,
    compare_right,
    mcnemar_p_value,
    paired_counts,
    paired_difference_interval,
)
from tfcompress.statistics.pareto import hypervolume, pareto_front
from tfcompress.statistics.proportions import accuracy_with_interval, wilson_interval
from tfcompress.statistics.regression import (
    Regression,
    absolute_errors,
    mean_absolute_error,
    r_squared,
    root_mean_squared_error,
    summarize_regression,
)
from tfcompress.statistics.robustness import (
    RightAnswers,
    RobustnessComparison,
    UnderCorruption,
    compare_robustness,
    mean_error_ratio,
)
from tfcompress.statistics.scoring import (
    PROBABILITY_FLOOR,
    brier_losses,
    brier_score,
    log_losses,
    negative_log_likelihood,
)
from tfcompress.statistics.seeds import (
    SeedDifference,
    SeedSummary,
    paired_seed_difference,
    summarize_seeds,
)
from tfcompress.statistics.selective import (
    SelectiveAccuracy,
    risk_coverage_area,
    selective_accuracies,
)
from tfcompress.statistics.temperature import (
    NoTemperatureError,
    Temperature,
    fit_temperature,
    scaled_probabilities,
)

__all__ = [
    "BETTER",
    "LEVEL",
    "NOT_SHOWN",
    "PROBABILITY_FLOOR",
    "WORSE",
    "BootstrapDifference",
    "Calibration",
    "ClassChange",
    "Comparison",
    "Confidences",
    "ConfusionChange",
    "Decision",
    "DetectableDifference",
    "Flips",
    "IdentifiedExamples",
    "NoTemperatureError",
    "Regression",
    "ReliabilityBin",
    "RightAnswers",
    "RobustnessComparison",
    "SeedDifference",
    "SeedSummary",
    "SelectiveAccuracy",
    "Temperature",
    "UnderCorruption",
    "absolute_errors",
    "accuracy_with_interval",
    "auroc",
    "auroc_difference_interval",
    "bootstrap_interval",
    "brier_losses",
    "brier_score",
    "compare",
    "compare_right",
    "compare_robustness",
    "confusion_change",
    "correct",
    "count_flips",
    "decide",
    "expected_calibration_error",
    "fit_temperature",
    "holm",
    "hypervolume",
    "identified_examples",
    "largest_confusion_changes",
    "log_losses",
    "mcnemar_p_value",
    "mean_absolute_error",
    "mean_error_ratio",
    "negative_log_likelihood",
    "normalized_probabilities",
    "paired_bootstrap",
    "paired_counts",
    "paired_difference_interval",
    "paired_seed_difference",
    "pareto_front",
    "per_class_change",
    "predicted_classes",
    "probabilities",
    "r_squared",
    "reliability_bins",
    "risk_coverage_area",
    "root_mean_squared_error",
    "scaled_probabilities",
    "selective_accuracies",
    "smallest_detectable_difference",
    "softmax",
    "summarize_calibration",
    "summarize_regression",
    "summarize_seeds",
    "telling_changes",
    "wilson_interval",
]
