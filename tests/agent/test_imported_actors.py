"""Who did it, in an imported log: logins, sudo, forks, and those whose master was not seen."""

from agent.audit_import import AuditImport
from nightherd.event.v1 import event_pb2 as events
from tests.agent.logs import an_ssh_login, call, executed, import_files, import_lines, line, user

UNSET = 4294967295
SSHD = 'exe="/usr/sbin/sshd" hostname=192.0.2.7 addr=192.0.2.7 terminal=ssh res=success'


def execs(imported):
    return {image.arguments[0].decode(): image for _, image, _ in imported.told("exec")}


def test_an_ssh_login_is_its_person_s_although_sshd_was_met_before(tmp_path):
    imported = import_lines(tmp_path, *an_ssh_login())
    imported.assert_nothing_vanished()
    started = imported.told("session_start")
    for start, image, _ in started:
        assert (image.login_user_id, image.session_id, image.service) == (1001, 3, "")
        assert image.provenance in (events.PROVENANCE_SCRIPTED, events.PROVENANCE_INTERACTIVE)
        assert (start.login_user, image.login_user) == ("alice", "alice")
    last, image, _ = started[-1]
    assert last.provenance == image.provenance == events.PROVENANCE_INTERACTIVE
    assert image.source_address == "192.0.2.7"


def test_a_login_in_the_words_of_rhel_5_and_6_is_one(tmp_path):
    imported = import_lines(
        tmp_path,
        line("USER_ACCT", 1, f"user pid=500 uid=0 auid={UNSET} ses={UNSET} msg='op=PAM:accounting acct=\"alice\" {SSHD}'"),
        line("LOGIN", 2, f"login pid=500 uid=0 old auid={UNSET} new auid=1001 old ses={UNSET} new ses=3"),
        line("USER_START", 3, "user pid=500 uid=0 auid=1001 ses=3 msg='PAM: session open acct=\"alice\" : exe=\"/usr/sbin/sshd\" (hostname=192.0.2.7, addr=192.0.2.7, terminal=ssh res=success)'"),
        *executed(4, "id", pid=510, ppid=505, auid=1001, ses=3, exe="/usr/bin/id"),
    )  # fmt: skip
    imported.assert_nothing_vanished()
    (image,) = execs(imported).values()
    assert (image.login_user, image.session_id) == ("alice", 3)
    assert image.provenance == events.PROVENANCE_SCRIPTED
    assert image.source_address == "192.0.2.7"
    assert not imported.told("auth_failure")
    assert not any(start.preexisting for start, _, _ in imported.told("session_start"))


def test_quoted_fields_are_read_as_plain_ones(tmp_path):
    plain = executed(1, "id", pid=3, exe="/usr/bin/id")
    quoted = [
        each.replace("success=yes", 'success="yes"').replace(":1)", ":2)")
        for each in executed(1, "id", pid=4, exe="/usr/bin/id")
    ]
    connect = 'arch="c000003e" syscall="42" success="yes" exit="0" a0="3" a1="0" a2="10" a3="0" items="0" ppid="1" pid="9" auid="1001" uid="0" gid="0" euid="0" tty="pts1" ses="3" exe="/usr/bin/nc"'
    imported = import_lines(
        tmp_path,
        *plain,
        *quoted,
        line("SYSCALL", 3, connect),
        line("SOCKADDR", 3, 'saddr="02000050C0000207"'),
    )
    imported.assert_nothing_vanished()
    assert [image.pid for _, image, _ in imported.told("exec")] == [3, 4]
    ((fact, image, _),) = imported.told("connect")
    assert (fact.remote_address, fact.remote_port) == ("192.0.2.7", 80)
    assert (image.executable, image.session_id) == (b"/usr/bin/nc", 3)


def test_a_sudo_that_does_not_name_itself_keeps_its_own_fields(tmp_path):
    imported = import_lines(
        tmp_path,
        line("USER_CMD", 1, "user pid=3027 uid=497 auid=700 ses=11988 msg='cwd=\"/srv\" cmd=6964202D75 terminal=pts/4 res=success'"),
    )  # fmt: skip
    imported.assert_nothing_vanished()
    ((fact, image, event),) = imported.told("privilege_use")
    assert fact.command == b"id -u"
    assert event.attribution == events.ATTRIBUTION_EXACT
    assert (image.pid, image.user_id, image.executable) == (3027, 497, b"/usr/bin/sudo")
    assert (image.login_user_id, image.session_id, image.terminal) == (700, 11988, "pts/4")
    assert image.working_directory == b"/srv"


def test_the_end_of_sudo_is_not_the_end_of_the_session_it_was_called_in(tmp_path):
    pam = 'acct="root" exe="/usr/bin/sudo" hostname=? addr=? terminal=/dev/pts/1 res=success'
    imported = import_lines(
        tmp_path,
        user("USER_START", 1, 520, f"op=PAM:session_open {pam}"),
        user("USER_END", 2, 520, f"op=PAM:session_close {pam}"),
    )
    ((start, _, _),) = imported.told("session_start")
    assert start.preexisting
    assert not imported.told("session_end")


def forked(serial, pid, child, number=56, flags="1200011", **who):
    return call(serial, number, pid=pid, a=(flags, "0", "0", "0"), **who).replace(
        "exit=0", f"exit={child}"
    )


def test_forks_make_the_tree_where_the_log_has_them(tmp_path):
    imported = import_lines(
        tmp_path,
        *executed(1, "/usr/sbin/master", pid=800, ppid=1, exe="/usr/sbin/master"),
        forked(2, 800, 801, exe="/usr/sbin/master"),
        # The parent runs another program before its child does: the child is the first one's.
        *executed(3, "/usr/bin/other", pid=800, ppid=1, exe="/usr/bin/other"),
        *executed(4, "worker", pid=801, ppid=800, exe="/usr/bin/worker", seconds=1783414699),
        forked(5, 801, 802, flags="3d0f00", exe="/usr/bin/worker"),  # a thread
        forked(6, 801, 803, number=57, flags="0", exe="/usr/bin/worker"),
        call(7, 87, pid=803, ppid=801, exe="/usr/bin/worker"),
        line("CWD", 7, 'cwd="/srv"'),
        line("PATH", 7, 'item=0 name="/srv/x" inode=7 dev=fe:00 mode=0100644 nametype=DELETE'),
    )
    imported.assert_nothing_vanished()
    worker = execs(imported)["worker"]
    assert imported.above(worker) == [b"/usr/sbin/master"]
    assert worker.service == "/usr/sbin/master"
    ((_, actor, _),) = imported.told("file_change")
    assert (actor.pid, actor.executable) == (803, b"/usr/bin/worker")
    assert actor.parent_exec_id == worker.exec_id
    assert imported.making.unused["SYSCALL"] == 1  # the thread's


def test_a_fork_that_is_told_after_what_its_child_ran_changes_nothing(tmp_path):
    imported = import_lines(
        tmp_path,
        *executed(1, "sh", pid=800, ppid=1, exe="/usr/bin/dash"),
        *executed(2, "id", pid=801, ppid=800, exe="/usr/bin/id"),
        forked(3, 800, 801, exe="/usr/bin/dash"),
        *executed(4, "env", pid=801, ppid=800, exe="/usr/bin/env"),
    )
    images = execs(imported)
    assert images["env"].parent_exec_id == images["id"].exec_id


def test_who_runs_what_its_parent_runs_is_a_fork_of_it(tmp_path):
    imported = import_lines(
        tmp_path,
        *executed(1, "nginx", "-g", "x", pid=800, ppid=1, exe="/usr/sbin/nginx"),
        call(2, 42, pid=801, ppid=800, uid=33, exe="/usr/sbin/nginx"),
        line("SOCKADDR", 2, "saddr=02000050C0000207"),
    )
    ((_, image, _),) = imported.told("connect")
    assert tuple(image.arguments) == (b"nginx", b"-g", b"x")
    assert (image.pid, image.user_id, image.service) == (801, 33, "/usr/sbin/nginx")


def test_a_process_whose_master_was_not_seen_belongs_to_its_own_program(tmp_path):
    imported = import_lines(
        tmp_path,
        *executed(1, "smtpd", pid=900, ppid=70, exe="/usr/lib/postfix/sbin/smtpd"),
        *executed(2, "logger", pid=901, ppid=900, exe="/usr/bin/logger"),
        *executed(3, "/bin/sh", "/srv/job.sh", pid=902, ppid=71, exe="/usr/bin/dash"),
        *executed(4, "date", pid=903, ppid=902, exe="/usr/bin/date"),
        *executed(5, "id", pid=904, ppid=72, auid=1001, ses=3, exe="/usr/bin/id"),
        *executed(6, "getty", pid=905, ppid=73, tty="tty1", exe="/usr/sbin/agetty"),
        user("CRED_ACQ", 7, 906, 'op=PAM:setcred acct="x" exe="/usr/sbin/vsftpd" res=success', auid=UNSET, ses=UNSET),
        *executed(8, "ls", pid=907, ppid=906, exe="/usr/bin/ls"),
    )  # fmt: skip
    imported.assert_nothing_vanished()
    services = {name: image.service for name, image in execs(imported).items()}
    assert services == {
        "smtpd": "/usr/lib/postfix/sbin/smtpd",
        "logger": "/usr/lib/postfix/sbin/smtpd",
        "/bin/sh": "/srv/job.sh",
        "date": "/srv/job.sh",
        "id": "",  # a person's
        "getty": "",  # a terminal's
        "ls": "/usr/sbin/vsftpd",
    }
    summary = imported.making.summary(1, 0)
    assert (
        "9 events of 1 boot and 1 session: 5 (62.5 %) of services, 2 (25.0 %) in sessions, "
        "1 (12.5 %) without service and session, 0 without an actor"
    ).replace("9 events", "8 events") in summary


def test_what_pid_1_started_is_not_pid_1_s_work(tmp_path):
    imported = import_lines(
        tmp_path,
        call(1, 87, pid=1, ppid=0, exe="/usr/lib/systemd/systemd"),
        line("CWD", 1, 'cwd="/"'),
        line("PATH", 1, 'item=0 name="/run/x" inode=7 dev=fe:00 mode=0100644 nametype=DELETE'),
        *executed(2, "getty", pid=905, ppid=1, tty="tty1", exe="/usr/sbin/agetty"),
        *executed(3, "nginx", pid=906, ppid=1, exe="/usr/sbin/nginx"),
        *executed(4, "id", pid=907, ppid=1, auid=1001, ses=3, exe="/usr/bin/id"),
    )
    services = {name: image.service for name, image in execs(imported).items()}
    assert services == {"getty": "/usr/sbin/agetty", "nginx": "/usr/sbin/nginx", "id": ""}


def test_names_come_from_what_the_log_says_of_logins_and_root_is_root(tmp_path):
    imported = import_lines(
        tmp_path,
        *an_ssh_login(),
        *executed(14, "id", pid=510, uid=1001, auid=1001, ses=3, exe="/usr/bin/id"),
        *executed(15, "ps", pid=511, uid=0, auid=1001, ses=3, exe="/usr/bin/ps"),
    )
    images = execs(imported)
    assert (images["id"].user, images["id"].login_user) == ("alice", "alice")
    assert images["ps"].user == "root"


def test_an_import_of_nothing_reports_that(tmp_path):
    imported = import_lines(tmp_path, "")
    assert isinstance(imported.making, AuditImport)
    assert "0 events of 0 boots and 0 sessions: 0 of services" in imported.making.summary(0, 0)


def test_a_recorded_login_is_interactive_or_scripted_and_never_a_service(shared_data):
    imported = import_files(shared_data / "host-logs" / "audit_enriched.log")
    (image,) = {
        image.exec_id: image
        for start, image, _ in imported.told("session_start")
        if start.session_id == 7
    }.values()
    assert (image.login_user, image.service) == ("root", "")
    assert image.provenance == events.PROVENANCE_SCRIPTED


def test_numbers_that_no_process_has_are_nobody_s(tmp_path):
    imported = import_lines(
        tmp_path,
        *executed(1, "id", pid=8220646174, ppid=1, exe="/usr/bin/id"),
        *executed(2, "id", pid=9, ppid=8220646174, exe="/usr/bin/id"),
        forked(3, 9, 8220646174, exe="/usr/bin/id"),
    )
    imported.assert_nothing_vanished()
    ((_, image, _),) = imported.told("exec")
    assert (image.pid, image.ppid) == (9, 0)
