"""How many new stories a span a model would meet if it were activated now, with an upper bound.

Good-Turing with the calendar span as unit: half of what happened in one span only will meet its
like. The bound is predictive: negative binomial, Gamma(k + 1/2) posterior, widened by the spread of
the spans.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.modeler.domain.calendar import Calendar
from services.modeler.domain.evidence import Evidence
from services.modeler.domain.stories import starts

LEVEL = 0.95
RECENT_SPANS = 3
MOST = 1_000_000
"""Quantiles are not looked for beyond this."""


@dataclass(frozen=True, slots=True)
class Maturity:
    """How settled a model is.

    Attributes:
        spans: whole spans in which the service was active.
        singles: stories whose behaviours were seen in exactly one span.
        recent: stories that began in the last 3 of these spans.
        predicted: expected new stories a span.
        bound: upper 95 % bound of the same.
    """

    spans: int = 0
    singles: int = 0
    recent: int = 0
    predicted: float = 0.0
    bound: float = 0.0


def maturity(
    spans: Sequence[int], behaviours: Sequence[Evidence], before_span: int, calendar: Calendar
) -> Maturity:
    """Judge what is known at the beginning of `before_span`.

    Args:
        spans: numbers of the spans in which the service was active.
        behaviours: evidence of its behaviours.
        before_span: the running span; it and later ones do not count yet.
        calendar: how units and spans are cut.
    """
    whole = sorted(span for span in set(spans) if span < before_span)
    known = [item for item in behaviours if item.spans and item.spans[0] < before_span]
    if not whole:
        return Maturity()
    single = [i for i in known if len([s for s in i.spans if s < before_span]) == 1]
    told = [calendar.span_of_unit(unit) for unit in starts(single, calendar.units_a_span)]
    a_span = [told.count(span) for span in whole]
    begins = [calendar.span_of_unit(unit) for unit in starts(known, calendar.units_a_span)]
    oldest_recent = whole[-RECENT_SPANS:][0]
    return Maturity(
        spans=len(whole),
        singles=len(told),
        recent=sum(1 for span in begins if span >= oldest_recent),
        predicted=len(told) / len(whole),
        bound=float(upper_bound(len(told), a_span)),
    )


def upper_bound(stories: int, a_span: Sequence[int]) -> int:
    """Return the 95 % bound on the stories of one further span.

    Args:
        stories: stories counted so far.
        a_span: how many of them in each span so far; at least one span.
    """
    spans = len(a_span)
    predictive = quantile(stories + 0.5, spans / (spans + 1))
    mean = stories / spans
    if spans < 2 or mean == 0:  # noqa: PLR2004  (one span has no spread)
        return predictive
    middle = sum(a_span) / spans
    variance = sum((count - middle) ** 2 for count in a_span) / (spans - 1)
    spread = max(variance, mean) * (1 + 1 / spans)
    size = mean * mean / (spread - mean)
    return max(predictive, quantile(size, size / (size + mean)))


def quantile(size: float, probability: float, level: float = LEVEL) -> int:
    """Return the smallest n with P(X <= n) >= level, X negative binomial.

    Args:
        size: number of successes, real, above 0.
        probability: of a success, above 0, at most 1.
        level: above 0, below 1.
    """
    if probability >= 1:
        return 0
    constant = size * math.log(probability) - math.lgamma(size)
    miss = math.log1p(-probability)
    total = 0.0
    for n in range(MOST):
        total += math.exp(math.lgamma(n + size) - math.lgamma(n + 1) + constant + n * miss)
        if total >= level:
            return n
    return MOST
