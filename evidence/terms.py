"""The index of a batch: its terms with how many events each has, and counts a minute and kind."""

from chassis.text import show
from evidence.subjects import PATH_KINDS, paths_of
from evidence.users import born_of, effective_of, person_of
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

VERSION = 4
"""3: users without names are there by number. 4: hashes, traits, origins, addresses, more paths."""
MOST_TERMS = 512
MOST_TERM_BYTES = 128
_MOST_COUNT = (1 << 31) - 1
"""What a count of the index can say."""

Actor = tuple[str, str, str, bytes, bytes, int, tuple[int, ...], str]
"""What of an image becomes terms; most images of a batch differ in their arguments only."""


class Terms:
    """Collects the terms and counts of one batch as its images and events come."""

    def __init__(self) -> None:
        """Begin empty."""
        self._actors: dict[Actor, int] = {}
        self._kinds: dict[str, int] = {}
        self._terms: dict[str, int] = {}
        self._counts: dict[tuple[int, str], int] = {}

    @staticmethod
    def actor(image: events.Image) -> Actor:
        """Return what of `image` becomes terms; hand it to `event`."""
        session = image.session_id if image.HasField("session_id") else -1
        user, person = effective_of(image), person_of(image)
        born = born_of(image.born_from) if image.HasField("born_from") else ""
        program = (image.executable, image.script)
        return (user, person, image.service, *program, session, tuple(image.traits), born)

    def event(self, event: events.Event, kind: str, second: int, actor: Actor | None) -> None:
        """Note an event of `kind` that `actor` caused at a second since 1970."""
        count = event.count or 1
        key = (second // 60, kind)
        self._counts[key] = self._counts.get(key, 0) + count
        self._kinds[kind] = self._kinds.get(kind, 0) + count
        if actor is not None:
            self._actors[actor] = self._actors.get(actor, 0) + count
        if kind in PATH_KINDS:
            self._subjects(event, kind, count)
        elif kind == "package_change":
            self._add(f"g:{event.package_change.name}", count)
        elif kind == "service_change":
            unit = event.service_change.unit
            if unit and (actor is None or unit != actor[2]):
                self._add(f"s:{unit}", count)
        elif kind in ("session_start", "session_end"):
            session = getattr(event, kind).session_id
            if actor is None or session != actor[5]:
                self._add(f"n:{session}", count)

    def _subjects(self, event: events.Event, kind: str, count: int) -> None:
        for path, times in paths_of(event, kind):
            self._add(f"p:{show(path)}", times)
        if kind == "file_hash" and (sha256 := event.file_hash.sha256):
            self._add(f"h:{sha256.hex()}", count)
        elif kind == "connect" and (address := event.connect.remote_address):
            self._add(f"a:{address}", count)

    def _add(self, term: str, count: int) -> None:
        self._terms[term] = self._terms.get(term, 0) + count

    def index(self) -> delivery.Index:
        """Return the index; it says when terms had to be left out."""
        for actor, count in self._actors.items():
            user, login_user, service, executable, script, session, traits, born = actor
            for prefix, value in (
                ("u", user),
                ("l", login_user),
                ("w", login_user or user),
                ("s", service),
                ("x", show(executable)),
                ("y", show(script)),
                ("n", str(session) if session >= 0 else ""),
                ("b", born),
                *(("t", str(trait)) for trait in dict.fromkeys(traits)),
            ):
                if value:
                    self._add(f"{prefix}:{value}", count)
        terms = {f"k:{kind}": count for kind, count in self._kinds.items()} | self._terms
        kept = [term for term in terms if len(term.encode()) <= MOST_TERM_BYTES]
        return delivery.Index(
            version=VERSION,
            terms=kept[:MOST_TERMS],
            terms_cut=len(kept) < len(terms) or len(kept) > MOST_TERMS,
            term_counts=[min(terms[term], _MOST_COUNT) for term in kept[:MOST_TERMS]],
            counts=[
                delivery.Index.Count(minute=minute, kind=kind, count=count)
                for (minute, kind), count in sorted(self._counts.items())
            ],
        )


def index_of(body: events.EventBatch) -> delivery.Index:
    """Return the index of a body that is there as a whole."""
    terms = Terms()
    actors = [Terms.actor(image) for image in body.images]
    for event in body.events:
        known = event.HasField("actor") and 0 <= event.actor < len(actors)
        actor = actors[event.actor] if known else None
        terms.event(event, event.WhichOneof("kind") or "", event.event_time.seconds, actor)
    return terms.index()
