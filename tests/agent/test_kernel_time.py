"""However late and however much at once records are read, what is told of them is the same."""

import pytest

from agent.names import UserNames
from agent.output import Output
from agent.sensors.records import UNSET_ID, AuditRecord, FileRecord, ProcessRecord
from agent.sensors.watchlist import WatchList
from agent.spool import Spool
from agent.stages.budget import Budgets
from agent.stages.identify import Identifier
from agent.stages.seal import Host as SealedHost
from agent.stages.seal import Sealer
from agent.translate import Translator
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sealing import KEY
from tests.builders import BOOT, HOST

MS = 1_000_000
S = 1_000 * MS
BEGAN = 1_000 * S
EXACT, INFERRED = events.ATTRIBUTION_EXACT, events.ATTRIBUTION_INFERRED


class Late:
    """A translator that is handed records, at whatever time; no record bears that time."""

    def __init__(self, folder) -> None:
        passwd = folder / "passwd"
        passwd.write_text("root:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\n")
        names = UserNames(passwd)
        self.spool = Spool(folder / "spool")
        sealer = Sealer(SealedHost(HOST, "default", BOOT, "0.1.0"), KEY, self.spool.link)
        output = Output(self.spool, sealer, lambda: None, Budgets(0))
        output.witness, output.offset_ns = self, 0
        self.identifier = Identifier(BOOT, names)
        self.translator = Translator(self.identifier, names, WatchList([]), output)
        self.made = []
        self.tick([a_process("snapshot", 0, 1, 0, "/sbin/init"), SSHD, CRON], 0)

    def saw(self, made) -> None:
        self.made.append(made)

    def tick(self, records, at_ns) -> None:
        self.identifier.begin_tick(0, BEGAN + at_ns)
        self.translator.handle(records, BEGAN + at_ns)

    def finish(self, at_ns):
        self.translator.finish(BEGAN + at_ns)
        return self.made

    def images(self, pid):
        return [m.image for m in self.made if m.kind == "exec" and m.image.pid == pid]

    def changes(self, path):
        return [
            made
            for made in self.made
            if any(c.path == path for c in made.event.file_change.changes)
        ]


@pytest.fixture
def late(tmp_path):
    made = Late(tmp_path)
    yield made
    made.spool.close()


def a_process(kind, at_ns, pid, ppid, executable="", *arguments, **more) -> ProcessRecord:
    values = {
        "kind": kind,
        "boot_ns": BEGAN + at_ns,
        "start_ns": BEGAN + pid * MS,
        "pid": pid,
        "ppid": ppid,
        "session_leader": pid,
        "user_id": 0,
        "effective_user_id": 0,
        "login_user_id": UNSET_ID,
        "session_id": UNSET_ID,
        "terminal": "",
        "exit_status": 0,
        "requested_path": executable.encode(),
        "executable": executable.encode(),
        "arguments": tuple(a.encode() for a in (executable, *arguments)) if executable else (),
        "arguments_cut": False,
        "working_directory": b"/",
        "cgroup": "",
        "exact": True,
    }
    return ProcessRecord(**(values | more))


SSHD = a_process("snapshot", 0, 10, 1, "/usr/sbin/sshd", cgroup="/system.slice/ssh.service")
CRON = a_process("snapshot", 0, 11, 1, "/usr/sbin/cron", cgroup="/system.slice/cron.service")
ALICE = {"login_user_id": 1001, "session_id": 7, "cgroup": "/user.slice/session-7.scope"}


def audit(kind, at_ns, text) -> AuditRecord:
    return AuditRecord(kind, BEGAN + at_ns, 1, text.encode())


def login(at_ns, pid, session_id=7, user=1001):
    text = (
        f"pid={pid} uid=0 old-auid={UNSET_ID} auid={user} old-ses={UNSET_ID} ses={session_id} res=1"
    )
    return audit("LOGIN", at_ns, text)


def pam(kind, at_ns, pid, executable="/usr/sbin/sshd", session_id=7, address="192.0.2.9"):
    text = (
        f'pid={pid} uid=0 auid=1001 ses={session_id} msg=\'op=PAM:x acct="alice" '
        f'exe="{executable}" hostname=? addr={address} terminal=ssh res=success\''
    )
    return audit(kind, at_ns, text)


def audited_session() -> list:
    """alice's `sudo adduser` over ssh as the audit level tells it: no forks, ends only by looking."""
    return [
        login(1000 * MS, 20),
        pam("USER_START", 1010 * MS, 20),
        a_process("exec", 1100 * MS, 21, 20, "/usr/bin/run-parts", **ALICE),
        a_process("exec", 1200 * MS, 22, 20, "/bin/bash", terminal="pts/0", **ALICE),
        a_process("exec", 5000 * MS, 23, 22, "/usr/bin/sudo", terminal="pts/0", **ALICE),
        a_process("exec", 5100 * MS, 24, 23, "/usr/sbin/useradd", terminal="pts/1", **ALICE),
        pam("USER_END", 9000 * MS, 20),
    ]


def found_gone(at_ns) -> list:
    """Ends that were noticed by looking, as late as that."""
    return [
        a_process("exit", at_ns, pid, 20, exit_status=-1, exact=False) for pid in (21, 22, 23, 24)
    ]


@pytest.mark.parametrize("late_ns", [0, 3 * S, 30 * S])
@pytest.mark.parametrize("ends_first", [True, False])
def test_a_person_is_one_however_late_the_records_come(late, late_ns, ends_first):
    records = audited_session()
    if ends_first:  # the first program of the session was gone before the next was told
        records.insert(3, a_process("exit", 1150 * MS, 21, 20, exit_status=-1, exact=False))
    late.tick(records, 9000 * MS + late_ns)
    late.tick(found_gone(9000 * MS + late_ns), 9100 * MS + late_ns)
    late.finish(60 * S)
    (image,) = late.images(24)
    assert image.provenance == events.PROVENANCE_INTERACTIVE
    assert (image.login_user, image.session_id, image.source_address) == ("alice", 7, "192.0.2.9")
    ends = [m.event for m in late.made if m.kind == "session_end"]
    assert [end.event_time.seconds for end in ends] == [BEGAN // S + 9]


def test_what_begins_after_the_sessions_end_was_left_behind_and_nothing_earlier(late):
    left = [
        a_process("exec", at_ns, pid, 1, "/opt/miner", **ALICE)
        for pid, at_ns in ((30, 8 * S), (31, 11 * S))
    ]
    late.tick(sorted([*audited_session(), *left], key=at_time), 90 * S)
    assert late.images(30)[0].provenance == events.PROVENANCE_INTERACTIVE
    assert late.images(31)[0].provenance == events.PROVENANCE_DETACHED


def at_time(record):
    return record.wall_ns if isinstance(record, AuditRecord) else record.boot_ns


def test_one_tick_or_many_tell_the_same_of_whom(late, tmp_path):
    (tmp_path / "other").mkdir()
    apart = Late(tmp_path / "other")
    records = audited_session()
    late.tick(records, 40 * S)
    for place, record in enumerate(records):
        apart.tick([record], at_time(record) - BEGAN + 50 * MS + place)
    for pid in (21, 22, 23, 24):
        assert late.images(pid) == apart.images(pid)
    apart.spool.close()


def test_an_address_that_comes_late_is_not_lost(late):
    begin, started, *rest = audited_session()
    del started
    late.tick([begin, *rest[:-1]], 6 * S)
    late.tick([pam("USER_LOGIN", 1300 * MS, 20)], 20 * S)
    late.tick([], 21 * S)
    starts = [m.event.session_start for m in late.made if m.kind == "session_start"]
    assert starts[-1].source_address == "192.0.2.9"


def test_an_address_that_comes_before_its_session_is_kept(late):
    text = f"pid=20 uid=0 auid={UNSET_ID} ses={UNSET_ID} msg='op=x acct=\"alice\" addr=192.0.2.9 res=success'"
    records = audited_session()
    records[1] = a_process("exec", 1 * S, 99, 1, "/bin/true")
    late.tick([audit("CRED_ACQ", 900 * MS, text), *records], 10 * S)
    assert late.images(24)[0].source_address == "192.0.2.9"


def test_a_job_of_cron_is_one_where_no_fork_is_seen(late):
    session = {"login_user_id": 0, "session_id": 8, "cgroup": "/system.slice/cron.service"}
    late.tick(
        [
            login(1 * S, 40, 8, 0),
            pam("USER_START", 1 * S, 40, "/usr/sbin/cron", 8, "?"),
            a_process("exec", 2 * S, 41, 40, "/bin/sh", "-c", "x", **session),
        ],
        30 * S,
    )
    (image,) = late.images(41)
    assert (image.provenance, image.service) == (events.PROVENANCE_SCHEDULED, "cron.service")


# -- who changed a file ----------------------------------------------------------------------------


def changed(read_ns, pid, path=b"/etc/cron.d/x") -> FileRecord:
    return FileRecord("modified", BEGAN + read_ns, pid, path, b"", directory=False)


def a_shell_that_becomes(program, at_ns) -> list:
    return [
        a_process("exec", 100 * MS, 50, 1, "/bin/bash", "-c", "x", start_ns=BEGAN + 90 * MS),
        a_process("exec", at_ns, 50, 1, program, start_ns=BEGAN + 90 * MS),
    ]


@pytest.mark.parametrize("program", ["/usr/bin/dpkg", "/bin/true"])
def test_several_images_within_a_tick_are_all_named_and_maintenance_is_the_last(late, program):
    late.tick([], 4000 * MS)
    late.tick([*a_shell_that_becomes(program, 4020 * MS), changed(4050 * MS, 50)], 4045 * MS)
    late.finish(60 * S)
    ((made,),) = [late.changes(b"/etc/cron.d/x")]
    bash, other = late.images(50)
    assert made.event.attribution == INFERRED
    named = list(made.event.file_change.candidate_exec_ids)
    assert set(named) == {bash.exec_id, other.exec_id}
    wins = bash if program.endswith("dpkg") else other
    assert (made.image.exec_id, made.image.maintenance) == (wins.exec_id, False)
    assert named[0] == wins.exec_id


def test_what_only_forked_wrote_and_then_executed_is_a_candidate(late):
    late.tick([a_process("exec", 100 * MS, 60, 1, "/bin/bash", start_ns=BEGAN + 60 * MS)], 200 * MS)
    late.tick([], 4000 * MS)
    forked = BEGAN + 4010 * MS
    late.tick(
        [
            a_process("fork", 4010 * MS, 61, 60, start_ns=forked),
            a_process("exec", 4030 * MS, 61, 60, "/usr/bin/dpkg", start_ns=forked),
            changed(4050 * MS, 61),
        ],
        4045 * MS,
    )
    late.finish(60 * S)
    ((made,),) = [late.changes(b"/etc/cron.d/x")]
    assert made.event.attribution == INFERRED
    assert len(made.event.file_change.candidate_exec_ids) == 2
    assert (made.image.executable, made.image.maintenance) == (b"/bin/bash", False)


def test_who_ran_one_program_since_the_last_look_is_sure(late):
    late.tick(a_shell_that_becomes("/bin/true", 300 * MS), 400 * MS)
    late.tick([], 4000 * MS)
    late.tick([changed(4060 * MS, 50)], 4050 * MS)
    late.finish(60 * S)
    ((made,),) = [late.changes(b"/etc/cron.d/x")]
    assert (made.event.attribution, made.image.executable) == (EXACT, b"/bin/true")
    assert not made.event.file_change.candidate_exec_ids


def test_a_change_read_late_was_made_before_its_process_and_its_session_ended(late):
    late.tick(audited_session()[:-1], 6 * S)
    late.tick(
        [
            a_process("exit", 6100 * MS, 24, 23),
            pam("USER_END", 6200 * MS, 20),
            changed(20 * S, 24),
        ],
        20 * S - 1,
    )
    late.finish(60 * S)
    ((made,),) = [late.changes(b"/etc/cron.d/x")]
    assert made.image.provenance == events.PROVENANCE_INTERACTIVE
    assert made.event.event_time.seconds <= BEGAN // S + 6


def test_a_daemon_that_a_person_left_is_so_when_it_changes_something_later(late):
    records = audited_session()
    late.tick([*records[:4], a_process("exec", 5 * S, 70, 1, "/opt/d", **ALICE)], 6 * S)
    late.tick([pam("USER_END", 9 * S, 20)], 9 * S)
    late.tick([], 30 * S)
    late.tick([changed(31 * S, 70)], 31 * S - 1)
    late.finish(60 * S)
    ((made,),) = [late.changes(b"/etc/cron.d/x")]
    assert made.image.provenance == events.PROVENANCE_DETACHED


def test_changes_that_lie_apart_are_not_one_however_late_they_come(late):
    late.tick(a_shell_that_becomes("/bin/true", 300 * MS), 400 * MS)
    late.tick([], 3990 * MS)
    files = [changed(at * MS, 50, b"/etc/cron.d/%d" % at) for at in (4000, 4500, 6000)]
    late.tick(files, 30 * S)
    late.finish(60 * S)
    found = [m.event.file_change for m in late.made if m.kind == "file_change"]
    assert [len(each.changes) for each in found] == [2, 1]
