"""Batches and filters out of few values, so that filters hit; some of them hostile."""

from hypothesis import strategies as st

from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from tests.builders import T0, an_event, an_image, changes, exec_id

SECOND = clock.NS
USERS = ["root", "alice", "zoë", "a" * 140]
SERVICES = ["nginx.service", "cron.service", "/opt/x y/run"]
PROGRAMS = [b"/bin/sh", b"/usr/bin/K\xe2\x84\xaa", b"/bin/\xff\x01x", b"/opt/" + b"l" * 150]
WORDS = [
    b"adduser",
    b"ALICE",
    b"-c",
    b"a\xffdeadbeef",
    b"\x1b[31m",
    "Straße".encode(),
    b"K\\x1b",
    "\u212aill".encode(),
    b"two words",
    "\u202ex".encode(),
    b"",
]
PATHS = [
    b"/etc/passwd",
    b"/etc/shadow",
    b"/tmp/a\xff",
    b"/etc/ssh/sshd_config",
    b"/var/" + b"p" * 150,
]
KINDS = [
    *("exec", "file_change", "session_start", "service_change", "gap"),
    *("file_read", "file_hash", "mount_change", "connect", "process_access"),
]
HASHES = [bytes(range(32)), b"\x41" * 32, b"\xff" * 32]
ADDRESSES = ["192.0.2.1", "2001:db8::A", ""]
SEARCHES = [
    "adduser",
    "ADD",
    "e al",
    "xff",
    "ff",
    "fdead",
    "\\x1b",
    "1b[31",
    "STRASSE",
    "straße",
    "kill",
    "x",
    "two words",
    "o w",
    "{202e}x",
    "\\",
    "\u202ex",
    "user alice",
]


@st.composite
def images(draw):
    image = an_image(
        draw(st.sampled_from(PROGRAMS)),
        draw(st.lists(st.sampled_from(WORDS), max_size=4)) or ["x"],
        service=draw(st.sampled_from(["", *SERVICES])),
        user=draw(st.sampled_from(["", *USERS])),
        login_user=draw(st.sampled_from(["", *USERS])),
        script=draw(st.sampled_from([b"", *PROGRAMS])),
        exec_id=exec_id(draw(st.integers(1, 3))),
    )
    if draw(st.booleans()):
        image.session_id = draw(st.integers(0, 3))
    image.traits.extend(draw(st.lists(st.sampled_from([1, 5, 10, 99]), max_size=2)))
    if not image.login_user and draw(st.booleans()):
        image.login_user_id = 1001
    if draw(st.booleans()):
        image.born_from.login_user = draw(st.sampled_from(["", *USERS]))
        if draw(st.booleans()):
            image.born_from.login_user_id = 1002
    return image


@st.composite
def any_events(draw, image_count, first_ns=T0, span_ns=4 * SECOND):
    kind = draw(st.sampled_from(KINDS))
    made = {
        "exec": events.Exec,
        "file_change": lambda: changes(
            *draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=3))
        ),
        "session_start": lambda: events.SessionStart(session_id=draw(st.integers(0, 3))),
        "service_change": lambda: events.ServiceChange(unit=draw(st.sampled_from(SERVICES))),
        "gap": lambda: events.Gap(cause=events.Gap.CAUSE_OVERFLOW),
        "file_read": lambda: events.FileRead(
            reads=[events.FileRead.Read(path=draw(st.sampled_from(PATHS)), count=2)]
        ),
        "file_hash": lambda: events.FileHash(
            path=draw(st.sampled_from(PATHS)), sha256=draw(st.sampled_from([b"", *HASHES]))
        ),
        "mount_change": lambda: events.MountChange(
            target=draw(st.sampled_from(PATHS)), watched_paths=[draw(st.sampled_from(PATHS))]
        ),
        "connect": lambda: events.Connect(
            path=draw(st.sampled_from([b"", *PATHS])),
            remote_address=draw(st.sampled_from(ADDRESSES)),
        ),
        "process_access": lambda: events.ProcessAccess(
            target_exec_id=exec_id(draw(st.integers(1, 3)))
        ),
    }[kind]()
    actor = draw(st.one_of(st.none(), st.integers(0, max(image_count - 1, 0))))
    return an_event(actor, first_ns + draw(st.integers(0, span_ns)) // 1000 * 1000, **{kind: made})


@st.composite
def bodies(draw, first_ns=T0, span_ns=4 * SECOND):
    made = draw(st.lists(images(), max_size=4))
    told = draw(st.lists(any_events(len(made), first_ns, span_ns), min_size=1, max_size=8))
    return events.EventBatch(images=made, events=told)


def _some(values):
    return st.lists(st.sampled_from(values), max_size=2)


def _text(values):
    from chassis.text import show

    return _some([show(value) for value in values])


@st.composite
def filters(draw, first_ns=T0, span_ns=4 * SECOND):
    names = draw(
        st.sets(
            st.sampled_from(
                [
                    "kinds",
                    "users",
                    "effective_users",
                    "services",
                    "session_ids",
                    "paths",
                    "path_prefixes",
                    "executables",
                    "search",
                    "exec_ids",
                    "sha256s",
                    "traits",
                    "remote_addresses",
                    "born_from_users",
                    "time",
                ]
            ),
            max_size=3,
        )
    )
    ways = {
        "kinds": _some(KINDS),
        "users": _some([*USERS, "1001"]),
        "effective_users": _some(USERS),
        "services": _some(SERVICES),
        "session_ids": _some([0, 1, 2, 3]),
        "paths": _text(PATHS),
        "path_prefixes": _some(["/etc/", "/etc/s", "/", "/var/pp", "/tmp/a\\x"]),
        "executables": _text(PROGRAMS),
        "exec_ids": _some([exec_id(1), exec_id(2)]),
        "sha256s": _some([each.hex() for each in HASHES]),
        "traits": _some([1, 5, 10]),
        "remote_addresses": _some(ADDRESSES[:2]),
        "born_from_users": _some([*USERS, "1002"]),
        "search": st.sampled_from(SEARCHES),
    }
    asked = pb.EventFilter(**{name: draw(ways[name]) for name in sorted(names - {"time"})})
    if "time" in names:
        start = first_ns + draw(st.integers(0, span_ns))
        asked.from_time.CopyFrom(clock.to_timestamp(start))
        if draw(st.booleans()):
            asked.to_time.CopyFrom(clock.to_timestamp(start + draw(st.integers(0, span_ns))))
    return asked
