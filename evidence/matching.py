"""Which events an `EventFilter` means: judged on the event, on a body's bytes, on a batch's terms.

Each level is the same question, only cheaper: a batch whose terms do not match, or whose bytes do
not hold the words, has no event that matches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from chassis import clock
from chassis.text import show
from evidence import words
from evidence.terms import MOST_TERM_BYTES
from evidence.users import effective_of, user_of
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb

ActorTest = Callable[[events.Image], bool]
_NOTHING = events.Event()


@dataclass(frozen=True, slots=True)
class TermGroup:
    """A batch with an event that matches has one of `terms`, or one that begins with a prefix."""

    terms: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


def term_groups(asked: pb.EventFilter) -> list[TermGroup]:
    """Return what the terms of a batch must hold, each group; batches of cut terms are exempt."""
    groups: list[TermGroup] = []
    apart = asked.effective_users and not set(asked.users) & set(asked.effective_users)
    kinds = set(asked.kinds)
    if kinds and (asked.paths or asked.path_prefixes):
        # Only these change paths. None left: no batch has such events.
        kinds &= {"file_change"}
        groups += [] if kinds else [TermGroup()]
    for letters, values in (
        ("n", asked.session_ids),
        ("p", asked.paths),
        ("xy", asked.executables),
        ("s", asked.services),
        # Who acts with the rights of somebody else has logged in.
        ("l" if apart else "w", asked.users),
        ("u", asked.effective_users),
        ("k", sorted(kinds)),
    ):
        if values:
            groups.append(_group(letters, values))
    if asked.path_prefixes:
        prefixes = tuple(dict.fromkeys(f"p:{prefix}" for prefix in asked.path_prefixes))
        groups.append(TermGroup(prefixes=prefixes))
    return groups


def _group(letters: str, values: Iterable[object]) -> TermGroup:
    terms = (f"{letter}:{value}" for value in values for letter in letters)
    # Longer terms are in no index: they are why a batch's terms were cut.
    kept = (term for term in terms if len(term.encode()) <= MOST_TERM_BYTES)
    return TermGroup(terms=tuple(dict.fromkeys(kept)))


@dataclass(frozen=True, slots=True)
class EventTest:
    """A test that an event passes by what it says, or by its image."""

    kinds: frozenset[str]
    """Kinds that may pass by what they say."""
    event: Callable[[events.Event], bool]
    image: ActorTest | None = None

    def places(self, places: Iterable[int], body: events.EventBatch) -> list[int]:
        """Return those of `places` whose events pass."""
        stored, by = body.events, set[int]()
        if self.image is not None:
            by = {place for place, image in enumerate(body.images) if self.image(image)}
        return [
            place
            for place in places
            if (by and (event := stored[place]).actor in by and event.HasField("actor"))
            or ((event := stored[place]).WhichOneof("kind") in self.kinds and self.event(event))
        ]

    def matches(self, image: events.Image | None, event: events.Event) -> bool:
        """Whether one event by `image` passes."""
        if self.image is not None and image is not None and self.image(image):
            return True
        return event.WhichOneof("kind") in self.kinds and self.event(event)


class Matcher:
    """An `EventFilter`, compiled. Hosts are left out: who reads batches knows their ids."""

    def __init__(self, asked: pb.EventFilter, without: str = "") -> None:
        """Compile `asked`, which is not read again; events of the kind `without` never match."""
        self._without = without
        self._herds = frozenset(asked.herds)
        self._timed = asked.HasField("from_time") or asked.HasField("to_time")
        self._from_ns, self._to_ns = -clock.LIMIT, clock.LIMIT
        if asked.HasField("from_time"):
            self._from_ns = clock.from_timestamp(asked.from_time)
        if asked.HasField("to_time"):
            self._to_ns = clock.from_timestamp(asked.to_time)
        self._kinds = frozenset(asked.kinds)
        self._tests = list(_event_tests(asked))
        self._actor_tests = list(_actor_tests(asked))
        self._needed = _needed(asked)

    def herd(self, herd: str) -> bool:
        """Whether batches of `herd` are asked for."""
        return not self._herds or herd in self._herds

    def may_hold(self, body: bytes) -> bool:
        """Whether a body, as its bytes before parsing, may hold an event that matches."""
        if not self._needed:
            return True
        lower = body.lower()
        return all(any(word in lower for word in words_) for words_ in self._needed)

    def places(self, body: events.EventBatch) -> list[int]:
        """Return the places of the events of `body` that match, in order."""
        stored, images = body.events, body.images
        found: Sequence[int] = range(len(stored))
        # Each step reads one field of what is left: calls for each event would cost more. What
        # needs no image comes first, for most images are not judged when few events are left.
        if self._kinds:
            kinds = self._kinds
            found = [place for place in found if stored[place].WhichOneof("kind") in kinds]
        for test in self._tests:
            found = test.places(found, body)
        if self._actor_tests:
            some: Iterable[int] = range(len(images))
            if len(found) < len(images):
                some = {stored[place].actor for place in found}.intersection(some)
            wanted = {number for number in some if self._actor(images[number])}
            found = [place for place in found if stored[place].actor in wanted]
            if 0 in wanted:  # which is also what an event says that names no actor
                found = [place for place in found if stored[place].HasField("actor")]
        if self._without:
            found = [place for place in found if stored[place].WhichOneof("kind") != self._without]
        if self._timed:
            found = [place for place in found if self._in_time(stored[place])]
        return list(found)

    def matches(self, image: events.Image | None, event: events.Event) -> bool:
        """Whether one event by `image` (None: nobody known) matches."""
        return self._actor(image) and self._event(event, image)

    def _actor(self, image: events.Image | None) -> bool:
        if not self._actor_tests:
            return True
        return image is not None and all(test(image) for test in self._actor_tests)

    def _in_time(self, event: events.Event) -> bool:
        return self._from_ns <= clock.from_timestamp(event.event_time) <= self._to_ns

    def _event(self, event: events.Event, image: events.Image | None) -> bool:
        if self._timed and not self._in_time(event):
            return False
        if self._kinds and event.WhichOneof("kind") not in self._kinds:
            return False
        if self._without and event.WhichOneof("kind") == self._without:
            return False
        return all(test.matches(image, event) for test in self._tests)


def sessions_of(event: events.Event, image: events.Image | None) -> set[int]:
    """Return the sessions an event belongs to: its actor's, and the one that begins or ends."""
    found: set[int] = set()
    if image is not None and image.HasField("session_id"):
        found.add(image.session_id)
    kind = event.WhichOneof("kind")
    if kind == "session_start":
        found.add(event.session_start.session_id)
    elif kind == "session_end":
        found.add(event.session_end.session_id)
    return found


def services_of(event: events.Event, image: events.Image | None) -> set[str]:
    """Return the services of an event: the one its actor works for, and one started or stopped."""
    found = {image.service} if image is not None and image.service else set()
    if event.WhichOneof("kind") == "service_change" and event.service_change.unit:
        found.add(event.service_change.unit)
    return found


def command_line(image: events.Image) -> str:
    """Return the arguments joined by spaces, as they are shown."""
    return show(b" ".join(image.arguments))


def _actor_tests(asked: pb.EventFilter) -> Iterator[ActorTest]:
    if asked.users:
        users = frozenset(asked.users)
        yield lambda image: user_of(image) in users
    if asked.effective_users:
        effective = frozenset(asked.effective_users)
        yield lambda image: effective_of(image) in effective
    if asked.executables:
        programs = frozenset(asked.executables)
        yield (
            lambda image: (
                show(image.executable) in programs
                or (show(image.script) in programs and bool(image.script))
            )
        )
    if asked.exec_ids:
        exec_ids = frozenset(asked.exec_ids)
        yield lambda image: image.exec_id in exec_ids
    if asked.search:
        text = words.fold(show(asked.search))
        yield lambda image: text in words.fold(command_line(image))


def _event_tests(asked: pb.EventFilter) -> Iterator[EventTest]:
    if asked.session_ids:
        sessions = frozenset(asked.session_ids)
        yield EventTest(
            frozenset({"session_start", "session_end"}),
            lambda event: not sessions.isdisjoint(sessions_of(event, None)),
            lambda image: not sessions.isdisjoint(sessions_of(_NOTHING, image)),
        )
    if asked.services:
        services = frozenset(asked.services)
        yield EventTest(
            frozenset({"service_change"}),
            lambda event: not services.isdisjoint(services_of(event, None)),
            lambda image: not services.isdisjoint(services_of(_NOTHING, image)),
        )
    if asked.paths:
        paths = frozenset(asked.paths)
        yield _changed(lambda path: path in paths)
    if asked.path_prefixes:
        begin = tuple(asked.path_prefixes)
        yield _changed(lambda path: path.startswith(begin))


def _changed(wanted: Callable[[str], bool]) -> EventTest:
    return EventTest(
        frozenset({"file_change"}),
        lambda event: any(wanted(show(change.path)) for change in event.file_change.changes),
    )


def _needed(asked: pb.EventFilter) -> list[Sequence[bytes]]:
    """Return groups of lower-case words: a body that matches holds one of each group."""
    groups: list[Sequence[bytes]] = [[word] for word in words.literals(show(asked.search))]
    wanted = (asked.exec_ids, asked.users, asked.effective_users)
    groups += [[value.encode().lower() for value in values] for values in wanted if values]
    return groups
