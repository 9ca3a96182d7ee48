"""Laws of judging: it never raises, says the same twice, and does not care how batches are cut."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2 as m
from services.detector.domain.accounts import of_command
from services.detector.domain.globs import Globs
from tests.builders import a_body, a_person, an_ancestor, an_event, an_image, below
from tests.services.detector.judged import a_model, judged

PATHS = st.one_of(
    st.sampled_from(
        [
            b"/etc/passwd",
            b"/etc/passwd-",
            b"/etc/passwd+",
            b"/etc/sudoers",
            b"/etc/cron.d/x",
            b"/var/x",
            b"/etc/systemd/system/x.service",
            b"/home/a/.bashrc",
            b"/etc/apt/sources.list.d/x.list",
        ]
    ),
    st.binary(max_size=40),
)
PROGRAMS = st.sampled_from(
    [
        b"/usr/sbin/useradd",
        b"/usr/bin/systemctl",
        b"/usr/bin/dash",
        b"/bin/busybox",
        b"/opt/x",
        b"",
        b"\xff",
        b"/usr/sbin/xtables-nft-multi",
        b"/usr/bin/docker",
        b"/usr/bin/sudo",
        b"/usr/bin/dpkg",
    ]
)
WORDS = st.one_of(
    st.sampled_from(
        [b"restart", b"-A", b"busybox", b"useradd", b"-m", b"bob", b"--", b"-i", b"run", b"reboot"]
    ),
    st.binary(max_size=8),
)
KINDS = st.one_of(
    st.just({"exec": events.Exec()}),
    st.builds(
        lambda paths: {
            "file_change": events.FileChange(
                changes=[
                    events.FileChange.Change(path=p, operation=o, previous_path=q, directory=d)
                    for p, o, q, d in paths
                ]
            )
        },
        st.lists(st.tuples(PATHS, st.integers(0, 5), PATHS, st.booleans()), max_size=4),
    ),
    st.builds(lambda n: {"account_change": events.AccountChange(name=n)}, st.binary(max_size=8)),
    st.just({"firewall_change": events.FirewallChange()}),
    st.builds(lambda p: {"listen": events.Listen(local_port=p)}, st.integers(0, 65535)),
    st.builds(lambda a: {"connect": events.Connect(remote_address=a)}, st.text(max_size=10)),
    st.builds(
        lambda n: {"session_start": events.SessionStart(session_id=n, provenance=1)},
        st.integers(0, 9),
    ),
    st.builds(lambda c: {"privilege_use": events.PrivilegeUse(command=c)}, st.binary(max_size=8)),
)


@st.composite
def items(draw):
    """(image, event) pairs: the same pid is the same image."""
    images = {}
    found = []
    for _ in range(draw(st.integers(1, 8))):
        pid = draw(st.integers(500, 503))
        if pid not in images:
            person = draw(st.booleans())
            build = a_person if person else an_image
            images[pid] = below(
                build(draw(PROGRAMS), draw(st.lists(WORDS, max_size=4)), pid=pid),
                an_ancestor(draw(PROGRAMS), pid=draw(st.integers(1, 3)), command=draw(WORDS)),
            )
        found.append((images[pid], an_event(**draw(KINDS))))
    return found


MODEL = a_model("nginx.service", (m.FACET_RUNS, "/opt/x"))


@given(items())
@settings(max_examples=150)
def test_judging_twice_says_the_same_and_ids_are_unique(found):
    one, two = judged(*found, model=MODEL), judged(*found, model=MODEL)
    assert one == two
    ids = [f.occurrence_id for part in one for f in part]
    assert len(ids) == len(set(ids))


@given(items(), st.integers(0, 8))
@settings(max_examples=150)
def test_however_batches_are_cut_activities_and_people_s_alerts_are_the_same(found, cut):
    known = {"account_change", "firewall_change", "session_start", "exec", "listen"}
    found = [(i, e) for i, e in found if e.WhichOneof("kind") in known]
    whole = judged(*found, model=MODEL) if found else ([], [])
    parts = [
        judged(*p, model=MODEL, number=n) for n, p in enumerate((found[:cut], found[cut:]), 1) if p
    ]

    def ids(judgements):
        activities = {f.activity.activity_id for a, _ in judgements for f in a}
        alerts = {
            f.occurrence_id
            for _, b in judgements
            for f in b
            if f.alert.deviation.facet != m.FACET_LISTENS
        }
        return activities, alerts

    assert ids([whole]) == ids(parts)


@given(st.binary(max_size=200))
def test_any_bytes_that_parse_as_a_body_are_judged(raw):
    from google.protobuf.message import DecodeError

    try:
        body = events.EventBatch.FromString(raw)
    except DecodeError:
        return
    judged(body=body)


def test_an_actor_that_does_not_exist_is_nobody():
    body = a_body()
    event = body.events.add()
    event.actor = 99
    event.file_change.changes.add(path=b"/etc/passwd", operation=2)
    (activity,), alerts = judged(body=body)
    assert (activity.actor.attribution, alerts) == (events.ATTRIBUTION_UNKNOWN, [])


@given(st.lists(WORDS, max_size=6))
def test_an_account_is_only_what_looks_like_one(words):
    for account in of_command(b"/usr/sbin/useradd", b"", (b"useradd", *words)):
        assert account.name.isascii()
        assert account.name.isprintable()


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_a_star_stays_within_its_folder(one, two):
    globs = Globs(["/etc/*/x", "/srv/**"])
    path = b"/etc/" + one + b"/x"
    assert globs.match(path) == (b"/" not in one)
    assert globs.match(b"/srv/" + one + b"/" + two)


def test_findings_stay_small_whatever_the_image():
    huge = b"/" + b"x" * 1_000_000
    image = a_person(
        huge,
        [huge],
        login_user="u" * 100_000,
        terminal="t" * 100_000,
    )
    above = [an_ancestor(huge, pid=5 + n, command=huge) for n in range(3)]
    paths = [b"/etc/cron.d/%07d" % n for n in range(20_000)]
    changes = [events.FileChange.Change(path=p, operation=2) for p in paths]
    event = an_event(file_change=events.FileChange(changes=changes))
    for part in judged((below(image, *above), event)):
        assert all(finding.ByteSize() < 512 << 10 for finding in part)
