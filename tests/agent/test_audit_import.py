"""An audit log becomes events of those who did them: scenarios, and laws for any bytes."""

import gzip

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.auditd_log import MOST_LINE_BYTES
from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.agent.logs import (
    an_ssh_login,
    call,
    executed,
    import_files,
    import_lines,
    line,
    user,
)

CHANGE = events.FileChange
ENRICHED = '\x1dARCH=x86_64 SYSCALL=execve AUID="alice" UID="root" EUID="root"'


def test_who_added_the_account_over_ssh_is_told(tmp_path):
    person = {"auid": 1001, "ses": 3, "tty": "pts1"}
    sudo = 'cwd="/home/alice" cmd=75736572616464206D616C6C6F7279 exe="/usr/bin/sudo" terminal=pts/1 res=success'
    imported = import_lines(
        tmp_path,
        *an_ssh_login(),
        *executed(14, "-bash", pid=510, ppid=509, uid=1001, exe="/usr/bin/bash", **person),
        *executed(15, "sudo", "useradd", "mallory", pid=520, ppid=510, exe="/usr/bin/sudo", **person),
        user("USER_CMD", 16, 520, sudo),
        user("USER_START", 17, 520, 'op=PAM:session_open acct="root" exe="/usr/bin/sudo" hostname=? addr=? terminal=/dev/pts/1 res=success'),
        *executed(18, "useradd", "mallory", pid=521, ppid=520, exe="/usr/sbin/useradd", names=ENRICHED, **person),
        user("ADD_USER", 19, 521, 'op=adding user acct="mallory" exe="/usr/sbin/useradd" hostname=? addr=? terminal=pts/1 res=success'),
        user("USER_END", 20, 500, 'op=PAM:session_close acct="alice" exe="/usr/sbin/sshd" hostname=192.0.2.7 addr=192.0.2.7 terminal=ssh res=success'),
    )  # fmt: skip
    imported.assert_nothing_vanished()
    ((change, actor, event),) = imported.told("account_change")
    assert (change.name, change.action) == (b"mallory", events.AccountChange.ACTION_ADDED)
    assert event.attribution == events.ATTRIBUTION_EXACT
    assert tuple(actor.arguments) == (b"useradd", b"mallory")
    assert (actor.login_user_id, actor.login_user, actor.session_id) == (1001, "alice", 3)
    assert actor.provenance == events.PROVENANCE_INTERACTIVE
    assert actor.source_address == "192.0.2.7"
    assert imported.above(actor) == [b"/usr/bin/sudo", b"/usr/bin/bash"]
    ((use, sudo_image, _),) = imported.told("privilege_use")
    assert (use.command, use.target_user) == (b"useradd mallory", "root")
    assert sudo_image.pid == 520
    starts = [start for start, _, _ in imported.told("session_start")]
    assert starts[-1].terminal == "pts/1"
    assert starts[-1].source_address == "192.0.2.7"
    assert (starts[-1].opener, starts[-1].login_user_id) == (b"/usr/sbin/sshd", 1001)
    assert not starts[-1].preexisting
    assert [end.session_id for end, _, _ in imported.told("session_end")] == [3]


def test_cron_and_services_are_what_they_are(tmp_path):
    unset = 4294967295
    cron = 'exe="/usr/sbin/cron" hostname=? addr=? terminal=cron res=success'
    imported = import_lines(
        tmp_path,
        user("USER_ACCT", 1, 700, f'op=PAM:accounting acct="root" {cron}', auid=unset, ses=unset),
        line("LOGIN", 2, f"pid=700 uid=0 old-auid={unset} auid=0 tty=(none) old-ses={unset} ses=8 res=1"),
        *executed(3, "/bin/sh", "-c", "backup", pid=701, ppid=700, auid=0, ses=8, exe="/usr/bin/dash"),
        *executed(4, "/usr/sbin/nginx", pid=800, ppid=1, exe="/usr/sbin/nginx"),
        *executed(5, "/usr/bin/logger", "x", pid=801, ppid=800, exe="/usr/bin/logger"),
    )  # fmt: skip
    images = [image for _, image, _ in imported.told("exec")]
    assert [image.provenance for image in images] == [
        events.PROVENANCE_SCHEDULED,
        events.PROVENANCE_SERVICE,
        events.PROVENANCE_SERVICE,
    ]
    assert [image.service for image in images] == [
        "/usr/sbin/cron",
        "/usr/sbin/nginx",
        "/usr/sbin/nginx",
    ]


def paths(serial, *named, cwd="/srv", **stamp):
    yield line("CWD", serial, f'cwd="{cwd}"', **stamp)
    for item, (name, type_, mode) in enumerate(named):
        yield line("PATH", serial, f'item={item} name="{name}" inode=7 dev=fe:00 mode={mode} ouid=0 ogid=0 rdev=00:00 nametype={type_}', **stamp)  # fmt: skip


def test_changes_to_files_are_told_with_who_made_them(tmp_path):
    cases = [
        (2, ("0", "241", "1b6", "0"), [("a", "CREATE", "0100644")], ("/srv/a", CHANGE.OPERATION_CREATED)),
        (257, ("ffffff9c", "0", "1", "0"), [("/etc/passwd", "NORMAL", "0100644")], ("/etc/passwd", CHANGE.OPERATION_MODIFIED)),
        (82, ("0", "0", "0", "0"), [("/etc/", "PARENT", "040755"), ("/etc/n", "DELETE", "0100644"), ("/etc/passwd", "DELETE", "0100644"), ("/etc/passwd", "CREATE", "0100644")], ("/etc/passwd", CHANGE.OPERATION_RENAMED)),
        (87, ("0", "0", "0", "0"), [("../tmp/x", "DELETE", "0100644")], ("/tmp/x", CHANGE.OPERATION_DELETED)),
        (90, ("0", "9ed", "0", "0"), [("/srv/tool", "NORMAL", "0100755")], ("/srv/tool", CHANGE.OPERATION_ATTRIBUTES)),
        (92, ("0", "3e8", "ffffffff", "0"), [("/srv/own", "NORMAL", "0100755")], ("/srv/own", CHANGE.OPERATION_ATTRIBUTES)),
        (265, ("ffffff9c", "0", "ffffff9c", "0"), [("/srv/a", "NORMAL", "0100644"), ("/srv/b", "CREATE", "0100644")], ("/srv/b", CHANGE.OPERATION_LINKED)),
        (83, ("0", "0", "0", "0"), [("/srv/d", "CREATE", "040755")], ("/srv/d", CHANGE.OPERATION_CREATED)),
    ]  # fmt: skip
    lines = []
    for serial, (number, arguments, named, _) in enumerate(cases, 1):
        lines += [
            call(serial, number, pid=90, exe="/usr/bin/tool", a=arguments),
            *paths(serial, *named),
        ]
    imported = import_lines(tmp_path, *lines)
    imported.assert_nothing_vanished()
    ((fact, actor, event),) = imported.told("file_change")  # of one image within a second: one
    assert [(each.path.decode(), each.operation) for each in fact.changes] == [
        case[3] for case in cases
    ]
    assert (actor.executable, event.attribution) == (b"/usr/bin/tool", events.ATTRIBUTION_EXACT)
    by_path = {each.path: each for each in fact.changes}
    assert fact.changes[2].previous_path == b"/etc/n"
    assert by_path[b"/srv/tool"].mode == 0o4755
    assert by_path[b"/srv/own"].owner_id == 1000
    assert not by_path[b"/srv/own"].HasField("group_id")
    assert by_path[b"/srv/d"].directory


def test_what_changes_no_file_is_kept_without_an_event(tmp_path):
    imported = import_lines(
        tmp_path,
        call(1, 257, a=("ffffff9c", "0", "0", "0")),
        *paths(1, ("/etc/passwd", "NORMAL", "0100644")),
        call(2, 257, a=("5", "0", "241", "0")),
        *paths(2, ("relative", "CREATE", "0100644")),
        call(3, 87, success="no"),
        *paths(3, ("/etc/passwd", "DELETE", "0100644")),
    )
    imported.assert_nothing_vanished()
    assert imported.events == []
    assert imported.making.unused == {"SYSCALL": 3, "CWD": 3, "PATH": 3}


def test_modules_the_clock_packages_and_the_login_user_are_told(tmp_path):
    imported = import_lines(
        tmp_path,
        line("KERN_MODULE", 1, 'name="evil"'),
        call(1, 176, pid=40, exe="/usr/bin/kmod"),
        line("TIME_INJOFFSET", 2, "sec=-5 nsec=250000000"),
        call(2, 159, pid=41, exe="/usr/sbin/chronyd"),
        line("LOGIN", 3, "pid=42 uid=0 old-auid=1001 auid=0 tty=pts1 old-ses=3 ses=9 res=1"),
        call(3, 1, pid=42, exe="/usr/bin/evil", auid=0, ses=9),
        user("SOFTWARE_UPDATE", 4, 43, 'op=install sw="nmap-7.9-1.x86_64" sw_type=rpm comm="dnf" exe="/usr/bin/python3" hostname=? addr=? terminal=? res=success'),
        user("USER_CHAUTHTOK", 5, 44, 'op=changing password id=1001 exe="/usr/bin/passwd" hostname=? addr=? terminal=? res=success'),
    )  # fmt: skip
    imported.assert_nothing_vanished()
    ((module, actor, _),) = imported.told("kernel_change")
    assert (module.name, module.action) == ("evil", events.KernelChange.ACTION_MODULE_UNLOADED)
    assert actor.executable == b"/usr/bin/kmod"
    assert [fact.step_ns for fact, _, _ in imported.told("time_change")] == [-4_750_000_000]
    ((login, _, _),) = imported.told("login_user_change")
    assert (login.previous_login_user_id, login.login_user_id, login.session_id) == (1001, 0, 9)
    ((package, _, _),) = imported.told("package_change")
    assert (package.name, package.version) == ("nmap", "7.9-1")
    ((account, _, _),) = imported.told("account_change")
    assert (list(account.fields), account.number) == (["password"], 1001)


def test_what_is_missing_is_a_gap_and_a_restart_is_another_boot(tmp_path):
    person = {"auid": 1001, "ses": 3, "tty": "pts1"}
    imported = import_lines(
        tmp_path,
        *an_ssh_login(serial=40_000),
        *executed(40_013, "id", pid=510, exe="/usr/bin/id", **person),
        *executed(1, "id", pid=510, exe="/usr/bin/id", seconds=1783500000, **person),
    )
    imported.assert_nothing_vanished()
    ((gap, _, _),) = imported.told("gap")
    assert (gap.lost, gap.precision, gap.source) == (9, events.Gap.PRECISION_EXACT, "audit")
    assert imported.making.lost == 9
    assert len(set(imported.boot_ids)) == 2
    first, second = (image for _, image, _ in imported.told("exec"))
    assert first.exec_id != second.exec_id
    assert (first.source_address, second.source_address) == ("192.0.2.7", "")


def test_a_pid_that_executes_again_later_is_another_process(tmp_path):
    imported = import_lines(
        tmp_path,
        *executed(1, "env", pid=60, ppid=50, exe="/usr/bin/env"),
        *executed(2, "sh", pid=60, ppid=50, exe="/usr/bin/dash"),
        *executed(3, "id", pid=60, ppid=50, exe="/usr/bin/id", seconds=1783414700),
    )
    first, chained, later = (image for _, image, _ in imported.told("exec"))
    assert first.parent_exec_id == later.parent_exec_id == ""  # nobody is their own parent
    assert chained.parent_exec_id == first.exec_id
    assert imported.above(chained) == [b"/usr/bin/env"]
    assert imported.above(later) == []


def test_events_bear_their_own_time_and_names_only_what_the_log_says(tmp_path):
    imported = import_lines(tmp_path, *executed(5, "id", pid=3, uid=1, exe="/usr/bin/id"))
    ((_, image, event),) = imported.told("exec")
    assert clock.from_timestamp(event.event_time) == 1_783_414_661_335_000_000
    assert (image.user_id, image.user) == (1, "")  # this machine's daemon is another


def test_rotated_and_compressed_files_are_read_in_the_order_of_their_time(tmp_path):
    old, new = tmp_path / "audit.log.2.gz", tmp_path / "audit.log"
    old.write_bytes(gzip.compress("\r\n".join(an_ssh_login()).encode()))
    person = {"auid": 1001, "ses": 3, "tty": "pts1"}
    new.write_text(
        "\n".join(executed(14, "id", pid=510, exe="/usr/bin/id", seconds=1783414662, **person))
    )
    imported = import_files(new, old)
    imported.assert_nothing_vanished()
    assert (imported.rejects, imported.making.lost) == ([], 0)
    ((_, image, _),) = imported.told("exec")
    assert image.source_address == "192.0.2.7"


def test_what_is_no_record_is_stated_with_its_line(tmp_path):
    imported = import_lines(
        tmp_path,
        "node=web1 " + user("USER_CMD", 1, 5, 'cmd="id" exe="/usr/bin/sudo" res=success'),
        "node=web2 " + user("USER_CMD", 1, 5, 'cmd="id" exe="/usr/bin/sudo" res=success'),
        "",
        "Jul 7 kernel: something else",
        "type=SYSCALL msg=audit(99999999999.000:1): pid=1",
        "type=PATH msg=audit(17:1): name=1",
        b"\x00\xff" * MOST_LINE_BYTES + b"\n",
        line("EOE", 2, ""),
    )
    imported.assert_nothing_vanished()
    assert len(imported.told("privilege_use")) == 1
    assert [why.partition(" ")[0] for why in imported.rejects] == [
        f"audit.log:{n}:" for n in (2, 4, 5, 6, 7)
    ]
    assert "another host, web2" in imported.rejects[0]
    assert imported.making.unused == {"EOE": 1}


def test_a_compressed_file_that_is_cut_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "audit.log.gz"
    whole = "\n".join(
        user("USER_CMD", n, 5, f'cmd="{n}" exe="/usr/bin/sudo" res=success') for n in range(900)
    )
    path.write_bytes(gzip.compress(whole.encode())[:-200])
    imported = import_files(path)
    imported.assert_nothing_vanished()
    assert "the rest cannot be read" in imported.rejects[-1]


WORDS = st.sampled_from(
    [
        b"type=SYSCALL msg=audit(1.000:1): ",
        b"type=LOGIN msg=audit(1.000:2): ",
        b"type=USER_START msg=audit(1.000:3): ",
        b"type=SYSTEM_BOOT msg=audit(1.000:4): ",
        b"type=DAEMON_START msg=audit(1.000:5): kernel=6.1 ",
        b"type=DAEMON_END msg=audit(2.000:5): ",
        b"type=CONFIG_CHANGE msg=audit(3.000:6): audit_enabled=0 ",
        b"type=USER_CMD msg=audit(3.000:7): ",
        b"type=USER_MGMT msg=audit(3.000:8): ",
        b"type=SYSCALL msg=audit(3.000:9): arch=c000003e syscall=56 success=yes exit=99999 a0=0 ",
        b"type=SYSCALL msg=audit(3.000:10): arch=c000003e syscall=59 success=no exit=-2 a0=0 ",
        b"type=SYSCALL msg=audit(3.000:11): arch=c000003e syscall=41 success=yes exit=3 a0=2 ",
        b"a1=1 a2=0 a3=0 items=0 ppid=1 pid=1 auid=2 uid=0 ses=3 ",
        b"old auid=1 new auid=2 ",
        b"op=add-user-to-group grp=",
        b"node=a ",
        b"\n",
        b"\r\n",
        b"\x1d",
        b"pid=1 auid=2 ses=3 ",
        b'exe="/usr/sbin/sshd" ',
        b"msg='",
        b"res=1'",
        b"audit(",
    ]
)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=80) | WORDS).map(b"".join))
def test_any_bytes_are_survived_and_counted(tmp_path_factory, content):
    import_lines(tmp_path_factory.mktemp("any"), content).assert_nothing_vanished()


WHOLE = "\n".join(
    [
        *an_ssh_login(),
        *executed(14, "sudo", "id", pid=510, ppid=500, auid=1001, ses=3, tty="pts1", names=ENRICHED),
        call(15, 257, pid=510, auid=1001, ses=3, a=("ffffff9c", "0", "241", "0")),
        *paths(15, ("/etc/x", "CREATE", "0100644")),
        user("ADD_USER", 16, 510, 'op=adding user acct="m" exe="/usr/bin/x" res=success'),
    ]
).encode()  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))
def test_a_log_cut_anywhere_is_survived_and_counted(tmp_path_factory, first, last):
    folder = tmp_path_factory.mktemp("cut")
    import_lines(folder, WHOLE[min(first, last) : max(first, last)]).assert_nothing_vanished()
    import_lines(
        folder, WHOLE[: min(first, last)] + WHOLE[max(first, last) :]
    ).assert_nothing_vanished()


def test_the_same_log_gives_the_same_batches(tmp_path):
    lines = [each for n in range(700) for each in executed(n, "id", str(n), pid=100 + n % 7)]
    first, second = (import_lines(tmp_path, *lines) for _ in range(2))
    assert len(first.batches) > 1
    assert [batch.SerializeToString() for batch in first.batches] == [
        batch.SerializeToString() for batch in second.batches
    ]
