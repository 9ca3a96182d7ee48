"""How wall time is cut into units, spans and grains of observation."""

from dataclasses import dataclass

GRAIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Calendar:
    """Cuts wall time from 1970-01-01 UTC on.

    Attributes:
        unit_seconds: length of a unit: what is smaller happened together.
        span_seconds: length of a span: a calendar day, in the default settings.
    """

    unit_seconds: int = 3600
    span_seconds: int = 86_400

    @property
    def grain_seconds(self) -> int:
        """How exactly first and last sight of a service are kept."""
        return min(GRAIN_SECONDS, self.unit_seconds)

    @property
    def units_a_span(self) -> int:
        """How many units a span holds, at least 1."""
        return max(1, self.span_seconds // self.unit_seconds)

    def unit(self, seconds: int) -> int:
        """Return the number of the unit that holds the moment `seconds`."""
        return seconds // self.unit_seconds

    def span(self, seconds: int) -> int:
        """Return the number of the span that holds the moment `seconds`."""
        return seconds // self.span_seconds

    def span_of_unit(self, unit: int) -> int:
        """Return the number of the span in which a unit begins."""
        return unit * self.unit_seconds // self.span_seconds

    def grain(self, seconds: int) -> int:
        """Return `seconds` cut to the grain."""
        return seconds // self.grain_seconds * self.grain_seconds
