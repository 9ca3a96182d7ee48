"""A person does something sensitive: one activity, one alert, the right names."""

import pytest

from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from tests.builders import a_person, an_ancestor, an_event, an_image, below, changes, exec_id
from tests.services.detector.judged import a_model, judged

RENAMED = events.FileChange.OPERATION_RENAMED
SHELL = an_ancestor("/bin/bash", pid=400, command=b"-bash")
SUDO = an_ancestor("/usr/bin/sudo", pid=450, command=b"sudo adduser bob")
ADDUSER = an_ancestor(
    "/usr/bin/perl",
    pid=460,
    script=b"/usr/sbin/adduser",
    command=b"/usr/bin/perl /usr/sbin/adduser bob",
)


def account_files():
    return an_event(
        file_change=events.FileChange(
            changes=[
                events.FileChange.Change(
                    path=b"/etc/passwd-", operation=events.FileChange.OPERATION_MODIFIED
                ),
                events.FileChange.Change(
                    path=b"/etc/shadow-", operation=events.FileChange.OPERATION_MODIFIED
                ),
                events.FileChange.Change(
                    path=b"/etc/passwd.lock", operation=events.FileChange.OPERATION_CREATED
                ),
                events.FileChange.Change(
                    path=b"/etc/passwd", operation=RENAMED, previous_path=b"/etc/passwd+"
                ),
                events.FileChange.Change(
                    path=b"/etc/shadow", operation=RENAMED, previous_path=b"/etc/shadow+"
                ),
            ]
        )
    )


def test_useradd_at_a_terminal_is_one_activity_and_one_alert():
    alice = a_person(arguments=["/usr/sbin/useradd", "-m", "bob"], source_address="10.0.0.5")
    activities, alerts = judged((alice, an_event()), (alice, account_files()))
    (activity,), (alert,) = activities, alerts
    assert activity.activity.type == pb.ACTIVITY_TYPE_ACCOUNTS_MODIFIED
    assert list(activity.activity.modified_files) == [
        b"/etc/passwd",
        b"/etc/passwd-",
        b"/etc/shadow",
        b"/etc/shadow-",
    ]
    assert (activity.actor.user, activity.actor.interactive) == ("alice", True)
    assert alert.alert.message == (
        "User alice changed accounts (added bob) in /etc/passwd, /etc/shadow on host h1 "
        "by running /usr/sbin/useradd -m bob (pts/1, from 10.0.0.5)"
    )
    assert alert.alert.attack_type == "administrativeAccount"
    assert list(alert.alert.accounts) == ["bob"]
    assert alert.alert.activity_id == activity.activity.activity_id


def test_a_remote_command_without_a_terminal_is_a_person_too():
    alice = a_person(arguments=["useradd", "carol"], terminal="")
    (activity,), (alert,) = judged((alice, account_files()))
    assert activity.actor.interactive
    assert "User alice changed accounts (added carol)" in alert.alert.message
    assert "(no terminal)" in alert.alert.message


def test_running_useradd_without_changing_anything_is_no_activity():
    assert judged((a_person(), an_event())) == ([], [])


def test_useradd_under_adduser_under_sudo_is_adduser_s_action():
    useradd = a_person(
        "/usr/sbin/useradd",
        ["/sbin/useradd", "-d", "/home/bob", "-u", "1002", "bob"],
        pid=500,
    )
    groupadd = a_person("/usr/sbin/groupadd", ["/sbin/groupadd", "-g", "1002", "bob"], pid=501)
    (activity,), (alert,) = judged(
        (below(groupadd, ADDUSER, SUDO, SHELL), an_event(file_change=changes("/etc/group"))),
        (below(useradd, ADDUSER, SUDO, SHELL), account_files()),
    )
    assert activity.actor.exec_id == exec_id(460)
    assert activity.actor.command == b"/usr/bin/perl /usr/sbin/adduser bob"
    assert list(activity.actor.ancestors) == [b"/usr/bin/sudo", b"/bin/bash"]
    assert list(alert.alert.accounts) == ["bob"]


@pytest.mark.parametrize("order", [1, -1])
def test_an_action_over_two_batches_is_one_activity_and_one_alert_occurrence(order):
    alice = a_person(arguments=["useradd", "bob"])
    events_ = [
        an_event(file_change=changes("/etc/passwd")),
        an_event(file_change=changes("/etc/shadow")),
    ]
    seen = [judged((alice, e), number=n) for n, e in list(enumerate(events_, 1))[::order]]
    assert len({a[0].activity.activity_id for a, _ in seen}) == 1
    assert len({a[0].occurrence_id for a, _ in seen}) == 2
    assert len({alerts[0].occurrence_id for _, alerts in seen}) == 1


def test_two_actions_in_one_session_are_one_alert_with_two_occurrences():
    one = a_person(arguments=["useradd", "bob"], pid=500)
    two = a_person(arguments=["useradd", "carol"], pid=600)
    activities, alerts = judged((one, account_files()), (two, account_files()))
    assert len({a.activity.activity_id for a in activities}) == 2
    assert len({a.alert.alert_key for a in alerts}) == 1
    assert [list(a.alert.accounts) for a in alerts] == [["bob"], ["carol"]]


def test_another_session_or_host_or_user_is_another_alert():
    change = account_files()
    keys = {
        judged((a_person(), change))[1][0].alert.alert_key,
        judged((a_person(session_id=8), change))[1][0].alert.alert_key,
        judged((a_person(login_user="eve"), change))[1][0].alert.alert_key,
        judged((a_person(), change), host_id="1" * 32)[1][0].alert.alert_key,
    }
    assert len(keys) == 4


def test_the_account_files_say_who_was_added_when_the_command_does_not():
    vipw = a_person("/usr/bin/vim.basic", ["vim", "/etc/passwd"])
    change = events.AccountChange(
        action=events.AccountChange.ACTION_ADDED,
        subject=events.AccountChange.SUBJECT_USER,
        name=b"mallory",
    )
    _, (alert,) = judged(
        (vipw, an_event(file_change=changes("/etc/passwd"))),
        (vipw, an_event(account_change=change)),
    )
    assert "(added mallory)" in alert.alert.message


def test_what_a_package_manager_does_for_a_person_is_recorded_and_accepted():
    postinst = a_person(arguments=["useradd", "--system", "nginx"], maintenance=True)
    activities, alerts = judged((postinst, account_files()))
    assert activities[0].actor.maintenance
    assert alerts == []


@pytest.mark.parametrize(
    ("executable", "arguments", "path"),
    [
        ("/usr/bin/cp", ["cp", "/tmp/x", "/etc/sudoers.d/x"], "/etc/sudoers.d/x"),
        ("/usr/bin/dash", ["sh", "-c", "echo"], "/home/alice/.ssh/authorized_keys"),
        ("/usr/bin/cp", ["cp"], "/etc/ssh/ssh_host_rsa_key"),
        ("/usr/bin/cp", ["cp"], "/etc/systemd/system/evil.service"),
        ("/usr/sbin/usermod", ["usermod", "-aG", "sudo", "eve"], "/etc/group"),
        ("/usr/sbin/useradd", ["useradd", "-m", "eve"], "/etc/passwd"),
    ],
)
def test_no_script_of_a_package_excuses_what_no_package_owns(executable, arguments, path):
    script = a_person(executable, arguments, maintenance=True)
    _, alerts = judged((script, an_event(file_change=changes(path))))
    assert len(alerts) == 1


def test_a_setuid_program_is_excused_only_when_the_package_manager_brings_it():
    for executable, alerts in (("/usr/bin/dpkg", 0), ("/usr/bin/chmod", 1)):
        image = a_person(executable, [executable], maintenance=True)
        event = an_event(file_change=changes("/usr/local/bin/x"))
        event.file_change.changes[0].mode = 0o4755
        event.file_change.changes[0].operation = events.FileChange.OPERATION_RENAMED
        assert len(judged((image, event))[1]) == alerts, executable


def test_units_that_a_package_brings_and_declares_are_its_own():
    for executable, script in (
        ("/usr/bin/dpkg", ""),
        ("/usr/bin/perl", "/usr/bin/deb-systemd-helper"),
    ):
        image = a_person(executable, [executable], maintenance=True, script=script.encode())
        unit = an_event(file_change=changes("/etc/systemd/system/x.service"))
        assert judged((image, unit))[1] == []


def test_what_a_person_left_running_is_still_the_person_s():
    nohup = a_person(provenance=events.PROVENANCE_DETACHED)
    (activity,), (alert,) = judged((nohup, account_files()))
    assert not activity.actor.interactive
    assert "left running after the session" in alert.alert.message


def test_login_and_sudo_are_recorded_without_an_alert():
    start = events.SessionStart(
        session_id=7,
        login_user="alice",
        terminal="pts/1",
        source_address="10.0.0.5",
        opener=b"/usr/sbin/sshd",
        provenance=events.PROVENANCE_INTERACTIVE,
    )
    sudo = a_person("/usr/bin/sudo", ["sudo", "id"])
    use = events.PrivilegeUse(command=b"id", target_user="root")
    activities, alerts = judged(
        (sudo, an_event(session_start=start)),
        (sudo, an_event()),
        (sudo, an_event(privilege_use=use)),
    )
    assert [a.activity.type for a in activities] == [pb.ACTIVITY_TYPE_LOGIN, pb.ACTIVITY_TYPE_SUDO]
    assert (activities[0].actor.user, activities[0].actor.source_address) == ("alice", "10.0.0.5")
    assert alerts == []


def test_a_session_of_cron_is_no_login():
    start = events.SessionStart(session_id=9, provenance=events.PROVENANCE_SCHEDULED)
    assert judged((an_image(), an_event(session_start=start))) == ([], [])


def test_a_new_package_source_is_added_not_also_modified():
    vim = a_person("/usr/bin/vim.basic")
    both = events.FileChange()
    for operation in (events.FileChange.OPERATION_MODIFIED, events.FileChange.OPERATION_CREATED):
        both.changes.add(path=b"/etc/apt/sources.list.d/x.list", operation=operation)
    (activity,), _ = judged((vim, an_event(file_change=both)))
    assert activity.activity.type == pb.ACTIVITY_TYPE_SOURCE_ADDED


def test_a_service_may_do_what_its_model_knows_and_a_person_may_not():
    from nightherd.modeler.v1 import model_pb2 as m

    model = a_model("nginx.service", (m.FACET_OBTAINS, "USERS_ADMIN"))
    daemon = an_image("/usr/sbin/useradd", ["useradd", "bob"])
    activities, alerts = judged((daemon, an_event()), (daemon, account_files()), model=model)
    assert [(a.actor.interactive, a.actor.service) for a in activities] == [
        (False, "nginx.service")
    ]
    assert alerts == []
    assert len(judged((a_person(), account_files()), model=model)[1]) == 1


def test_hostile_bytes_do_no_harm():
    evil = a_person(
        b"/usr/sbin/useradd",
        [b"useradd", b"\xff\x1b[2J\n"],
        terminal="pts/1\x1b",
        login_user="a\u202eb",
    )
    _, (alert,) = (
        judged((evil, an_event(file_change=changes("/etc/passwd", b"/etc/cron.d/\xff"))))[0],
        judged((evil, an_event(file_change=changes("/etc/passwd"))))[1],
    )
    assert alert.alert.message.isprintable()
    assert list(alert.alert.accounts) == []


@pytest.mark.parametrize("path", ["/usr/local/bin/rootshell", "/opt/x/tool"])
def test_a_program_made_setuid_is_an_alert_that_says_so(path):
    image = a_person("/usr/bin/chmod", ["chmod", "u+s", path])
    event = an_event(file_change=changes(path, operation=events.FileChange.OPERATION_ATTRIBUTES))
    assert judged((image, event)) == ([], [])
    event.file_change.changes[0].mode = 0o4755
    (activity,), (alert,) = judged((image, event))
    assert activity.activity.type == pb.ACTIVITY_TYPE_SENSITIVE_FILES_MODIFIED
    assert alert.alert.attack_type == "suidBinaries"
    assert list(alert.alert.attack_techniques) == ["T1548.001"]
    assert alert.alert.message == (
        f"User alice let programs run with their owner's rights: {path} on host h1 "
        f"by running chmod u+s {path} (pts/1)"
    )
    event.file_change.changes[0].directory = True  # new files in it get its group: no program
    assert judged((image, event)) == ([], [])


def test_a_package_that_apt_installs_is_one_activity_with_the_command():
    apt = a_person("/usr/bin/apt-get", ["apt-get", "install", "x"], pid=500, maintenance=True)
    above = an_ancestor("/usr/bin/apt-get", pid=500, command=b"apt-get install x")
    dpkg = below(a_person("/usr/bin/dpkg", ["dpkg", "--unpack"], pid=501, maintenance=True), above)
    change = an_event(package_change=events.PackageChange(name="x", version="1", manager="dpkg"))
    (activity,), alerts = judged((apt, an_event()), (dpkg, an_event()), (dpkg, change))
    assert activity.activity.type == pb.ACTIVITY_TYPE_SYSTEM_UPDATE
    assert activity.actor.command == b"apt-get install x"
    assert not alerts


def test_what_a_service_manager_does_for_every_login_makes_no_activity():
    systemd = an_image("/usr/lib/systemd/systemd", pid=1, service="init.scope")
    for unit in ("user@1000.service", "user-runtime-dir@1000.service", "systemd-hostnamed.service"):
        change = events.ServiceChange(unit=unit, succeeded=True)
        assert judged((systemd, an_event(service_change=change))) == ([], [])


def test_a_unit_that_its_manager_restarts_again_and_again_is_one_activity():
    systemd = an_image("/usr/lib/systemd/systemd", pid=1, service="init.scope")
    change = an_event(service_change=events.ServiceChange(unit="x.service", succeeded=True))
    found = {
        judged((systemd, change), number=number)[0][0].activity.activity_id for number in (1, 2, 3)
    }
    assert len(found) == 1


def test_a_service_is_told_by_the_command_that_asked_or_else_by_its_manager():
    alice = a_person("/usr/bin/systemctl", ["systemctl", "restart", "nginx"])
    systemd = an_image("/usr/lib/systemd/systemd", pid=1, service="init.scope")

    def started(unit):
        return an_event(service_change=events.ServiceChange(unit=unit, succeeded=True))

    found, alerts = judged(
        (alice, an_event()), (systemd, started("nginx.service")), (systemd, started("b.service"))
    )
    told = {(a.actor.user, a.actor.pid, *a.activity.affected_services) for a in found}
    assert told == {("alice", 500, "nginx.service"), ("root", 1, "b.service")}
    assert {a.activity.type for a in found} == {pb.ACTIVITY_TYPE_APP_RESTART}
    assert not alerts


def test_whoever_writes_its_own_login_uid_raises_an_alert():
    change = events.LoginUserChange(previous_login_user_id=1001, login_user_id=0)
    image = a_person(executable="/tmp/hide", arguments=["/tmp/hide"])
    activities, alerts = judged((image, an_event(login_user_change=change)))
    assert not activities
    (alert,) = alerts
    assert alert.alert.attack_type == "loginUserWritten"
    assert alert.alert.severity == pb.SEVERITY_HIGH
    assert alert.alert.message == "/tmp/hide wrote its own login uid: from uid 1001 to uid 0"
    assert alert.actor.exec_id == image.exec_id


def test_a_login_uid_that_was_taken_away_is_named_so():
    change = events.LoginUserChange(previous_login_user_id=1001)
    _, (alert,) = judged((a_person(), an_event(login_user_change=change)))
    assert alert.alert.message.endswith("from uid 1001 to nobody")
