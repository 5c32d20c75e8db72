"""What every figure of a report means and how it was measured.

Knows the definitions that hold for every run and fills in what the run recorded. Does not know
markup.
"""

from __future__ import annotations

from tfcompress.report import comparison, text
from tfcompress.results import Latency, Results


def definitions(results: Results) -> tuple[tuple[str, str], ...]:
    """Pairs of a term and its meaning, with the sample sizes of this run."""
    tested = text.count(results.data.split_sizes.get("test"))
    base = comparison.reference(results)
    base_name = "the baseline's float32 file" if base is None else base.name
    return (
        (
            "Baseline",
            "The trained, uncompressed model, run by Keras. Every difference is to its "
            f"outputs on the same {tested} test {results.data.examples}.",
        ),
        (
            "Stored, gzipped",
            "Size of the exported .tflite file, and of that file after gzip at level 9; "
            "1 KiB is 1,024 bytes. "
            f"A ratio divides the size of {base_name} by the file's, both in the same bytes. "
            "Zeros and shared weights save stored bytes only where the file encodes them; "
            "gzip shows what they save in transfer.",
        ),
        *(_of_values(results) if results.data.targets else _of_classes(results)),
        ("Parity", _parity(results)),
        ("Latency", _latency(results)),
        (
            "Memory",
            "Greatest resident size of the process that ran the file, its interpreter included, "
            "in MiB (1,048,576 bytes).",
        ),
        (
            "Integer operators",
            "Operators of the file whose inputs and outputs are all integers, of all operators.",
        ),
        (
            "Zeros",
            "Share of exact zeros among the weights of convolutions and matrix products, "
            "counted in the exported file (in the layers table: in the Keras model, after the "
            "stage).",
        ),
        (
            "Distinct weights",
            "In the files table: the most different values that the weights of one output channel "
            "take, over all weight tensors of the file. In the layers table: different values "
            "among the layer's weights.",
        ),
        *(() if results.data.targets else _of_answers(results.data.examples)),
        (text.MISSING, "Not measured in this run, or not defined for this file."),
    )


def of_repetitions(results: Results) -> tuple[tuple[str, str], ...]:
    """Pairs of a term and its meaning, of a report on runs that differ in their seed alone."""
    return (
        *_kept(results, ("Stored, gzipped",)),
        (
            "Difference",
            "To the baseline of the same seed. The interval is Student's, of the mean over the "
            f"seeds: it is of another training, not of other test {results.data.examples}, and "
            "wide with few seeds.",
        ),
        (
            "Is it real?",
            "Better or worse only where the interval leaves zero out and the paired t test over "
            "the seeds, corrected by Holm's procedure for the number of files, gives p below "
            "0.05. A question mark: the interval alone says so, or every seed shows exactly the "
            "same loss.",
        ),
        *(() if results.data.targets else (_identified(results.data.examples),)),
        (text.MISSING, "Not measured in these runs."),
    )


def _identified(examples: str) -> tuple[str, str]:
    return (
        "Identified",
        f"Compression-identified {examples} (Hooker et al., 2019): those whose most frequent class "
        "over the seeds is another for the compressed models than for the baselines. A tie "
        "alone identifies none.",
    )


def of_comparison(results: Results) -> tuple[tuple[str, str], ...]:
    """Pairs of a term and its meaning, of a report on runs of different settings."""
    one = results.data.example
    return (
        (
            "Difference",
            f"Accuracy minus that of the first run's baseline, paired {one} by {one}, with Tango's "
            "score interval.",
        ),
        (
            "Is it real?",
            "Better or worse only where the interval leaves zero out and McNemar's exact test, "
            "corrected by Holm's procedure for all rows of the table, gives p below 0.05. A "
            f"question mark: the interval alone says so. The interval is of the test {one}s; that "
            "another training would show the same takes several seeds.",
        ),
        *_kept(results, ("Stored, gzipped",)),
        (text.MISSING, "Not measured in these runs."),
    )


def _kept(results: Results, terms: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in definitions(results) if pair[0] in terms)


def _of_classes(results: Results) -> tuple[tuple[str, str], ...]:
    tested = text.count(results.data.split_sizes.get("test"))
    one, examples = results.data.example, results.data.examples
    return (
        (
            "Accuracy",
            f"Share of the {tested} {examples} of the test split with the right class on top; of "
            "equal outputs the first counts. The interval is Wilson's score interval.",
        ),
        (
            "Difference",
            f"Accuracy minus the baseline's, in percentage points, paired {one} by {one}. The "
            "interval is Tango's score interval for paired proportions, which holds its coverage "
            f"where two models differ on few {examples}.",
        ),
        (
            "Is it real?",
            "Better or worse only where the interval leaves zero out and McNemar's exact test, "
            "corrected by Holm's procedure for the number of files, gives p below 0.05. A question "
            "mark: the interval alone says so. A file is called free of "
            "loss only where neither does; that no loss is shown proves no absence. The difference "
            "that would be found in four cases of five is that of a test with a power of 80% on "
            f"these {examples}, at the share of them on which the two disagree.",
        ),
    )


def _of_answers(examples: str) -> tuple[tuple[str, str], ...]:
    return (
        (
            "Change by class",
            f"Accuracy on the test {examples} of one class minus the baseline's on the same ones. "
            "Outlined cells differ by McNemar's exact test at 5% after Holm's correction for all "
            "classes of all files; of the others nothing is shown.",
        ),
        (
            "ECE",
            "Expected calibration error: the mean distance between confidence (the greatest "
            f"probability) and accuracy over 15 groups of about equally many test {examples}, "
            "ranked by confidence. A perfectly calibrated model shows a little, by chance.",
        ),
        (
            "NLL, Brier score",
            f"Negative log-likelihood and Brier score: the means over the test {examples} of minus "
            "the logarithm of the true class's probability, and of the squared distance between "
            "probabilities and truth, summed over classes. Lower is better for both.",
        ),
        (
            "Temperature",
            "The number that outputs are divided by before the softmax, fitted on the validation "
            "split: above 1 for a model that is too sure of itself, below for one that is not "
            "sure enough, as after training with label smoothing.",
        ),
    )


def _of_values(results: Results) -> tuple[tuple[str, str], ...]:
    tested, examples = text.count(results.data.split_sizes.get("test")), results.data.examples
    of_several = (
        " Of several targets each figure is the mean over them."
        if len(results.data.targets) > 1
        else ""
    )
    return (
        (
            "Mean absolute error",
            f"Mean over the {tested} {examples} of the test split of how far the value is off, in "
            f"the unit of the target.{of_several} The interval is that of 2,000 bootstrap "
            "resamples.",
        ),
        (
            "Root mean squared error",
            "The square root of the mean squared error: large errors weigh more.",
        ),
        (
            "R squared",
            "The share of the target's variance on the test split that the model explains: 1 for "
            "a perfect one, 0 for one that always says the mean.",
        ),
        (
            "Difference",
            "The error minus the baseline's: below zero is better. The interval is that of 2,000 "
            f"bootstrap resamples in which file and baseline have the same {examples}.",
        ),
        (
            "Is it real?",
            "Better or worse only where the interval leaves zero out and the bootstrap's p, "
            "corrected by Holm's procedure for the number of files, is below 0.05. A question "
            "mark: the interval alone says so. A file is called free of loss "
            "only where neither does; that no loss is shown proves no absence.",
        ),
    )


def _parity(results: Results) -> str:
    examples = results.data.examples
    counts = {a.parity.examples for a in results.artifacts if a.parity is not None}
    where = f" ({text.count(max(counts))} {examples})" if counts else ""
    if results.data.targets:
        return (
            f"The file against the Keras model that it was made from, on the validation split"
            f"{where}: mean and, beside it, greatest absolute difference of a value."
        )
    return (
        f"The file against the Keras model that it was made from, on the validation split{where}: "
        f"share of {examples} with the same class on top and, beside it, the greatest absolute "
        "difference of a raw output."
    )


def _latency(results: Results) -> str:
    setting = comparison.common_setting(results)
    found = {
        entry.name: latency
        for entry in results.artifacts
        if (latency := comparison.latency_in(entry, setting)) is not None
    }
    timed = list(found.values())
    if setting is None or not timed:
        return "Not measured in this run."
    samples = min(each.samples for each in timed)
    rounds = min(len(each.round_p50) for each in timed)
    spread = f" in {text.plural(rounds, 'round')}, each a process of its own" if rounds else ""
    return (
        f"Time of one call with {setting}, on the processor named under Environment: median (p50) "
        f"and 90th percentile (p90) of at least {samples:,} calls{spread}, files taken in turn. "
        f"The first, cold call is kept apart.{_too_noisy(found)}"
    )


def _too_noisy(found: dict[str, Latency]) -> str:
    reasons = [f"{name}: {each.reason}" for name, each in found.items() if each.steady is False]
    if not reasons:
        return ""
    return f" Too noisy to be compared, though the samples are kept: {'. '.join(reasons)}."
