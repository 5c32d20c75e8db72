"""What an interval and a test say of a difference, in a word.

Knows when a difference counts as shown, and when only as suspected. Does not know how interval and
p values were come by, nor what is done with the word.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfcompress.results import Interval

LEVEL = 0.05
"""P values below this, corrected for the number of comparisons, count as shown."""

BETTER, WORSE, NOT_SHOWN = "better", "worse", "no difference shown"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What may be said of a difference to the baseline.

    Attributes:
      answer: `"better"`, `"worse"` or `"no difference shown"`: the former two only where the
        interval leaves zero out and the test, corrected for the number of comparisons, agrees.
      suspected: `"better"` or `"worse"` where the interval leaves zero out but the test does not
        confirm it, alone or corrected; empty otherwise.
    """

    answer: str
    suspected: str = ""

    @property
    def shows_no_loss(self) -> bool:
        """Whether no loss is shown and none suspected: what a file must be to be called lossless.

        The correction guards against claims of a difference. A file that might have lost accuracy
        does not profit from it.
        """
        return WORSE not in (self.answer, self.suspected)


def decide(interval: Interval | None, p_value: float | None, adjusted: float | None) -> Decision:
    """Puts an interval and a test together.

    The two can part, as where the interval is asymptotic and the test exact, or corrected for other
    comparisons. Only what both say is shown; what the interval alone says is suspected.

    Args:
      interval: of the difference, model minus baseline, where more is better.
      p_value: of no difference; None, where there is no test, confirms nothing.
      adjusted: the same, corrected for the number of comparisons.

    Example:
      >>> decide(Interval(-0.03, -0.01), 0.01, 0.02).answer
      'worse'
      >>> decide(Interval(-0.03, -0.01), 0.01, 0.08)
      Decision(answer='no difference shown', suspected='worse')
    """
    if interval is None or interval.low <= 0 <= interval.high:
        return Decision(answer=NOT_SHOWN)
    direction = BETTER if interval.low > 0 else WORSE
    if all(p is not None and p < LEVEL for p in (p_value, adjusted)):
        return Decision(answer=direction)
    return Decision(answer=NOT_SHOWN, suspected=direction)
