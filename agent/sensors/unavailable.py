"""Why a sensor cannot work on this host, in a sentence for people."""


class SensorUnavailable(Exception):  # noqa: N818 - it is a state of the host, not a mistake
    """A source of events that this host or this user does not offer.

    Its text is one sentence without a full stop; it ends up in "what this host does not see".

    Args:
        sentence: Its text.
        said: Lines in which the kernel explained a refusal, the last ones; for logs and `doctor`.
    """

    def __init__(self, sentence: str, said: tuple[str, ...] = ()) -> None:
        """Hold both."""
        super().__init__(sentence)
        self.said = said
