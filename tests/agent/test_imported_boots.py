"""Several boots in one log, and sessions that have the same number: nobody becomes another."""

from nightherd.event.v1 import event_pb2 as events
from tests.agent.logs import an_ssh_login, executed, import_lines, line, user

UNSET = 4294967295
BEGIN = 1783414661


def a_cron_job(serial, pid=700, ses=3, auid=0, **stamp):
    cron = 'exe="/usr/sbin/cron" hostname=? addr=? terminal=cron res=success'
    return [
        user(
            "USER_ACCT",
            serial,
            pid,
            f'op=PAM:accounting acct="root" {cron}',
            auid=UNSET,
            ses=UNSET,
            **stamp,
        ),
        line(
            "LOGIN",
            serial + 1,
            f"pid={pid} uid=0 old-auid={UNSET} auid={auid} tty=(none) old-ses={UNSET} ses={ses} res=1",
            **stamp,
        ),
        *executed(
            serial + 2,
            "sh",
            "-c",
            "backup",
            pid=pid + 1,
            ppid=pid,
            auid=auid,
            ses=ses,
            exe="/usr/bin/dash",
            **stamp,
        ),
    ]


def an_account_by_sudo(serial, pid=510, ses=3, **stamp):
    person = {"auid": 1001, "ses": ses, "tty": "pts1", **stamp}
    return [
        *executed(serial, "-bash", pid=pid, ppid=pid - 1, uid=1001, exe="/usr/bin/bash", **person),
        *executed(
            serial + 1, "sudo", "useradd", "m", pid=pid + 1, ppid=pid, exe="/usr/bin/sudo", **person
        ),
        *executed(
            serial + 2, "useradd", "m", pid=pid + 2, ppid=pid + 1, exe="/usr/sbin/useradd", **person
        ),
        user(
            "ADD_USER",
            serial + 3,
            pid + 2,
            'op=add-user acct="m" exe="/usr/sbin/useradd" hostname=? addr=? terminal=pts/1 res=success',
            ses=ses,
            **stamp,
        ),
    ]


def assert_it_was_alice(imported):
    imported.assert_nothing_vanished()
    ((change, actor, _),) = imported.told("account_change")
    assert change.name == b"m"
    assert (actor.login_user_id, actor.session_id) == (1001, 3)
    assert actor.provenance == events.PROVENANCE_INTERACTIVE
    assert (actor.source_address, actor.service) == ("192.0.2.7", "")
    return actor


def test_a_person_s_sudo_after_a_reboot_is_not_cron_s_of_before(tmp_path):
    imported = import_lines(
        tmp_path,
        *a_cron_job(100),
        *an_ssh_login(20, seconds=BEGIN + 60),
        *an_account_by_sudo(24, seconds=BEGIN + 62),
    )
    actor = assert_it_was_alice(imported)
    assert len(set(imported.boot_ids)) == 2
    assert actor.exec_id.startswith(imported.boot_ids[-1])
    (job,) = (
        image for _, image, _ in imported.told("exec") if image.executable == b"/usr/bin/dash"
    )
    assert job.provenance == events.PROVENANCE_SCHEDULED
    assert job.exec_id.startswith(imported.boot_ids[0])
    assert imported.making.lost == 0


def test_a_session_number_that_comes_again_for_another_login_is_another_session(tmp_path):
    """Where nothing tells the boots apart: the log was cut, or serials go on."""
    imported = import_lines(
        tmp_path,
        *a_cron_job(100),
        *an_ssh_login(103, seconds=BEGIN + 60),
        *an_account_by_sudo(107, seconds=BEGIN + 62),
    )
    assert_it_was_alice(imported)
    starts = [start for start, _, _ in imported.told("session_start")]
    assert [start.login_user_id for start in starts][:2] == [0, 1001]


def test_the_same_person_s_number_that_comes_again_is_another_session(tmp_path):
    imported = import_lines(
        tmp_path,
        *an_ssh_login(10, pid=500),
        user("USER_CMD", 14, 509, 'cwd="/" cmd="id" exe="/usr/bin/sudo" res=success'),
        *a_cron_job(15, pid=900, auid=1001, seconds=BEGIN + 900),
    )
    images = [image for _, image, _ in imported.told("exec")]
    assert [image.provenance for image in images] == [events.PROVENANCE_SCHEDULED]
    openers = [start.opener for start, _, _ in imported.told("session_start")]
    assert openers[-1] == b"/usr/sbin/cron"


def test_a_session_whose_login_was_not_logged_goes_by_its_login_user(tmp_path):
    person = {"auid": 1001, "ses": 3, "tty": "pts1"}
    imported = import_lines(
        tmp_path,
        *a_cron_job(100),
        *executed(103, "id", pid=950, ppid=949, exe="/usr/bin/id", **person),
        *executed(104, "sh", pid=702, ppid=701, auid=0, ses=3, exe="/usr/bin/dash"),
    )
    by_program = {bytes(image.arguments[0]): image for _, image, _ in imported.told("exec")}
    assert by_program[b"id"].login_user_id == 1001
    assert by_program[b"id"].provenance == events.PROVENANCE_INTERACTIVE
