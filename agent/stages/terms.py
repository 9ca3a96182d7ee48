"""The index of a batch: which terms and how many events of each kind a minute it holds."""

from chassis.text import show
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

VERSION = 1
MOST_TERMS = 512
MOST_TERM_BYTES = 128


class Terms:
    """Collects the terms and counts of one batch as its images and events come."""

    def __init__(self) -> None:
        """Begin empty."""
        self._known: set[tuple[str, str, str, bytes, int]] = set()
        self._kinds: dict[str, None] = {}
        self._terms: dict[str, None] = {}
        self._counts: dict[tuple[int, str], int] = {}

    def image(self, image: events.Image) -> None:
        """Note who an image works for and what it runs."""
        session = image.session_id if image.HasField("session_id") else -1
        key = (image.user, image.login_user, image.service, image.executable, session)
        if key in self._known:  # most images of a batch differ in their arguments only
            return
        self._known.add(key)
        for prefix, value in (
            ("u", image.user),
            ("l", image.login_user),
            ("s", image.service),
            ("x", show(image.executable)),
            ("n", str(session) if session >= 0 else ""),
        ):
            if value:
                self._terms[f"{prefix}:{value}"] = None

    def event(self, event: events.Event, kind: str, second: int) -> None:
        """Note an event of `kind` that happened at a second since 1970."""
        key = (second // 60, kind)
        self._counts[key] = self._counts.get(key, 0) + (event.count or 1)
        self._kinds[kind] = None
        if kind == "file_change":
            for change in event.file_change.changes:
                self._terms[f"p:{show(change.path)}"] = None
        elif kind == "package_change":
            self._terms[f"g:{event.package_change.name}"] = None
        elif kind == "service_change":
            self._terms[f"s:{event.service_change.unit}"] = None

    def index(self) -> delivery.Index:
        """Return the index; it says when terms had to be left out."""
        terms = [*(f"k:{kind}" for kind in self._kinds), *self._terms]
        kept = [term for term in terms if len(term.encode()) <= MOST_TERM_BYTES]
        return delivery.Index(
            version=VERSION,
            terms=kept[:MOST_TERMS],
            terms_cut=len(kept) < len(terms) or len(kept) > MOST_TERMS,
            counts=[
                delivery.Index.Count(minute=minute, kind=kind, count=count)
                for (minute, kind), count in sorted(self._counts.items())
            ],
        )
