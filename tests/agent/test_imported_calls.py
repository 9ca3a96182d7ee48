"""Calls of an imported log that are neither an execution nor a change: in vain, or of a socket."""

from agent.failed_execs import told_failure
from agent.sensors.exec_failures import MOST_NAMES, MOST_OPEN, ExecFailures, Failure, error_of
from nightherd.event.v1 import event_pb2 as events
from tests.agent.logs import call, executed, import_lines, line


def failed(serial, path, *, result=-2, nametype="UNKNOWN", **who):
    stamp = {name: who[name] for name in ("seconds", "milliseconds") if name in who}
    return [
        call(serial, 59, success="no", **who).replace("exit=0", f"exit={result}"),
        line("CWD", serial, 'cwd="/root"', **stamp),
        line("PATH", serial, f'item=0 name="{path}" nametype={nametype}', **stamp),
        line("PROCTITLE", serial, "proctitle=7878", **stamp),
    ]


SHELL = {"pid": 60, "ppid": 50, "exe": "/usr/bin/dash"}


def test_a_program_that_was_requested_in_vain_is_told_with_who_did(tmp_path):
    imported = import_lines(
        tmp_path,
        *executed(1, "sh", pid=50, ppid=1, exe="/usr/bin/dash"),
        *failed(2, "/tmp/x", result=-13, nametype="NORMAL", **SHELL),
        call(3, 59, success="no", **SHELL).replace("exit=0", "exit=-14"),
    )
    imported.assert_nothing_vanished()
    first, second = imported.told("exec_failure")
    fact, actor, event = first
    assert (fact.requested_path, fact.error) == (b"/tmp/x", "EACCES")
    assert (actor.pid, actor.executable, actor.service) == (60, b"/usr/bin/dash", "/usr/bin/dash")
    assert (event.attribution, event.count) == (events.ATTRIBUTION_EXACT, 0)
    assert (second[0].requested_path, second[0].error) == (b"", "EFAULT")


def test_arguments_are_told_where_an_old_kernel_wrote_them(tmp_path):
    lines = failed(2, "/tmp/x", **SHELL)
    lines.insert(1, line("EXECVE", 2, 'argc=2 a0="x" a1="--password=hunter2"'))
    ((fact, _, _),) = import_lines(tmp_path, *lines).told("exec_failure")
    assert fact.arguments[0] == b"x"
    assert b"hunter2" not in fact.arguments[1]


def test_a_search_through_path_that_comes_to_a_program_is_no_failure(tmp_path):
    imported = import_lines(
        tmp_path,
        *executed(1, "sh", pid=50, ppid=1, exe="/usr/bin/dash"),
        *failed(2, "/usr/local/sbin/id", **SHELL),
        *failed(3, "/usr/local/bin/id", **SHELL),
        *failed(4, "/opt/id", result=-13, **SHELL),
        *executed(5, "/usr/bin/id", **{**SHELL, "exe": "/usr/bin/id"}),
    )
    imported.assert_nothing_vanished()
    ((fact, _, event),) = imported.told("exec_failure")  # it was there and not permitted
    assert (fact.requested_path, fact.error, event.count) == (b"/opt/id", "EACCES", 0)
    image = imported.told("exec")[-1][1]
    assert imported.above(image) == [b"/usr/bin/dash"]


def test_a_search_that_comes_to_nothing_is_one_event_with_its_count(tmp_path):
    folders = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")
    imported = import_lines(
        tmp_path,
        *(each for n, at in enumerate(folders, 1) for each in failed(n, f"{at}/nmap", **SHELL)),
        *failed(9, "/usr/local/sbin/nmap", seconds=1783414690, **SHELL),
    )
    ((fact, _, event),) = imported.told("exec_failure")  # the later one repeats it, word for word
    assert (fact.requested_path, event.count) == (b"/usr/local/sbin/nmap", 5)
    assert event.last_event_time.seconds == 1783414690


def test_children_that_only_forked_request_on_behalf_of_their_parent(tmp_path):
    useradd = {"ppid": 50, "exe": "/usr/sbin/useradd"}
    imported = import_lines(
        tmp_path,
        *executed(1, "useradd", "m", pid=50, ppid=1, exe="/usr/sbin/useradd"),
        *(
            each
            for n in range(4)
            for each in failed(n + 2, "/usr/sbin/nscd", pid=60 + n, **useradd)
        ),
        *failed(8, "/usr/bin/x", pid=70, **useradd),
        *failed(9, "/bin/x", pid=70, **useradd),
        *executed(10, "/sbin/x", pid=70, ppid=50, exe="/usr/sbin/x"),
    )
    imported.assert_nothing_vanished()
    ((fact, actor, event),) = imported.told("exec_failure")
    assert (fact.requested_path, event.count) == (b"/usr/sbin/nscd", 4)
    assert tuple(actor.arguments) == (b"useradd", b"m")


def test_a_storm_of_names_is_a_bounded_number_of_events_and_each_is_counted():
    failures, made = ExecFailures(), []
    for n in range(5000):
        made += failures.add(1, Failure(None, b"/x/%d" % n, "ENOENT", 1_000 + n, 1_000 + n))
    made += failures.due(2_000_000_000)
    assert len(made) == MOST_NAMES + 1
    told = [told_failure(each) for each in made]
    assert sum(max(each.count, 1) for each in told) == 5000
    assert [each.cut for each in told].count(True) == 1
    assert len(failures) == 0


def test_failures_of_any_number_of_programs_are_held_in_a_bounded_number():
    failures, made = ExecFailures(), []
    for n in range(2 * MOST_OPEN):
        made += failures.add(n, Failure(None, b"/x", "ENOENT", 1, 1))
        assert len(failures) <= MOST_OPEN
    assert len([*made, *failures.all()]) == 2 * MOST_OPEN


def test_errors_have_their_names():
    assert [error_of(each) for each in (b"-2", b"-8", b"-13", b"-7", b"-512", b"x\xff")] == [
        "ENOENT",
        "ENOEXEC",
        "EACCES",
        "E2BIG",
        "512",
        "x\\xff",
    ]


def connected(serial, fd, *, port="0050", result=0, **who):
    success = "no" if result else "yes"
    return [
        call(serial, 42, a=(str(fd), "0", "10", "0"), success=success, **who).replace(
            "exit=0", f"exit={result}"
        ),
        line("SOCKADDR", serial, f"saddr=0200{port}C0000207"),
    ]


def opened(serial, fd, family, kind, **who):
    return call(serial, 41, a=(f"{family:x}", f"{kind:x}", "0", "0"), **who).replace(
        "exit=0", f"exit={fd}"
    )


def test_the_protocol_of_a_connection_comes_from_its_socket_or_its_answer(tmp_path):
    who = {"pid": 9, "exe": "/usr/bin/nc"}
    imported = import_lines(
        tmp_path,
        opened(1, 3, 2, 0x80001, **who),
        *connected(2, 3, **who),
        opened(3, 3, 2, 0x80802, **who),  # the same number, another socket
        *connected(4, 3, port="0035", **who),
        *connected(5, 7, port="0051", result=-115, **who),
        *connected(6, 8, port="0000", **who),
        *connected(7, 8, port="0052", **who),
        opened(8, 3, 1, 1, **who),  # a unix socket
        *connected(9, 3, port="0053", **who),
    )
    imported.assert_nothing_vanished()
    assert [fact.protocol for fact, _, _ in imported.told("connect")] == [
        events.PROTOCOL_TCP,
        events.PROTOCOL_UDP,
        events.PROTOCOL_TCP,
        events.PROTOCOL_UDP,
        events.PROTOCOL_UNSPECIFIED,
        events.PROTOCOL_UNSPECIFIED,
    ]
