"""Which events an `EventFilter` means: judged on the event, on a body's bytes, on a batch's terms.

Each level is the same question, only cheaper: a batch whose terms do not match, or whose bytes do
not hold the words, has no event that matches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from chassis import clock
from chassis.text import show
from evidence import words
from evidence.subjects import ADDRESS_KINDS, HASH_KINDS, PATH_KINDS, paths_of
from evidence.terms import MOST_TERM_BYTES
from evidence.users import born_of, effective_of, user_of
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
    kinds = _kinds(asked)
    if kinds is not None and not kinds:
        groups.append(TermGroup())  # no batch has such events
    for letters, values in (
        ("n", asked.session_ids),
        ("p", asked.paths),
        ("xy", asked.executables),
        ("s", asked.services),
        # Who acts with the rights of somebody else has logged in.
        ("l" if apart else "w", asked.users),
        ("u", asked.effective_users),
        ("h", asked.sha256s),
        ("a", asked.remote_addresses),
        ("t", asked.traits),
        ("b", asked.born_from_users),
        ("k", sorted(kinds or ())),
    ):
        if values:
            groups.append(_group(letters, values))
    if asked.path_prefixes:
        prefixes = tuple(dict.fromkeys(f"p:{prefix}" for prefix in asked.path_prefixes))
        groups.append(TermGroup(prefixes=prefixes))
    return groups


def _kinds(asked: pb.EventFilter) -> frozenset[str] | None:
    """Return the kinds that can match, where their terms narrow it; None: they do not."""
    able = [PATH_KINDS] if asked.paths or asked.path_prefixes else []
    able += [HASH_KINDS] if asked.sha256s else []
    able += [ADDRESS_KINDS] if asked.remote_addresses else []
    return frozenset(asked.kinds).intersection(*able) if asked.kinds else None


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
    if asked.traits:
        traits = frozenset(asked.traits)
        yield lambda image: not traits.isdisjoint(image.traits)
    if asked.born_from_users:
        born = frozenset(asked.born_from_users)
        yield lambda image: image.HasField("born_from") and born_of(image.born_from) in born
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
    if asked.exec_ids:
        exec_ids = frozenset(asked.exec_ids)
        yield EventTest(
            frozenset({"process_access"}),
            lambda event: event.process_access.target_exec_id in exec_ids,
            lambda image: image.exec_id in exec_ids,
        )
    if asked.sha256s:
        hashes = frozenset(asked.sha256s)
        yield EventTest(HASH_KINDS, lambda event: event.file_hash.sha256.hex() in hashes)
    if asked.remote_addresses:
        addresses = frozenset(asked.remote_addresses)
        yield EventTest(ADDRESS_KINDS, lambda event: event.connect.remote_address in addresses)
    if asked.paths:
        paths = frozenset(asked.paths)
        yield _about(lambda path: path in paths)
    if asked.path_prefixes:
        begin = tuple(asked.path_prefixes)
        yield _about(lambda path: path.startswith(begin))


def _about(wanted: Callable[[str], bool]) -> EventTest:
    def test(event: events.Event) -> bool:
        kind = event.WhichOneof("kind") or ""
        if kind == "file_change":  # by far the most
            return any(wanted(show(change.path)) for change in event.file_change.changes)
        return any(wanted(show(path)) for path, _ in paths_of(event, kind))

    return EventTest(PATH_KINDS, test)


def _needed(asked: pb.EventFilter) -> list[Sequence[bytes]]:
    """Return groups of lower-case words: a body that matches holds one of each group."""
    groups: list[Sequence[bytes]] = [[word] for word in words.literals(show(asked.search))]
    people = (asked.users, asked.effective_users, asked.born_from_users)
    # Who has no name is found by number, of which the bytes hold no digits.
    named = (values for values in people if not any(map(str.isdecimal, values)))
    wanted = (asked.exec_ids, asked.remote_addresses, *named)
    groups += [[value.encode().lower() for value in values] for values in wanted if values]
    if asked.sha256s:
        groups.append([_digest(value).lower() for value in asked.sha256s])
    return groups


def _digest(text: str) -> bytes:
    """Return the bytes of a hash in hexadecimal digits; of another text none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
