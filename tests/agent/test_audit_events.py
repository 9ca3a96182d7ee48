"""Records as the kernel, systemd, rpm, su and sudo write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audit_events import events_of, targets_of
from agent.sensors.audit_records import TYPE_NAMES, parse
from agent.sensors.records import AuditRecord
from nightherd.event.v1 import event_pb2 as events
from tests.agent.stages.host import Host

NUMBERS = {name: number for number, name in TYPE_NAMES.items()}
NAMES = ["pid", "exe", "acct", "cmd", "res", "op", "sw", "unit", "prog-id", "name", "ses", "addr"]
STAMP = "audit(1795522915.566:5521): "
SUDO = "pid={} uid=0 auid=1001 ses=3 subj=unconfined msg='{} exe=\"/usr/bin/sudo\" {} res=success'"


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path / "passwd")


def record(kind, text):
    return parse(NUMBERS[kind], (STAMP + text).encode())


def only(host, *records):
    made = [
        each
        for one in records
        for each in events_of(one, host.identifier, host.now, targets_of(records))
    ]
    assert len(made) == 1, made
    return made[0]


def test_su_is_told_with_the_account_and_the_command(host):
    _, shell = host.sshd()
    su, image = host.run(shell, "/usr/bin/su", "bob", "-c", "id --password=hunter2")
    text = f"pid={su} uid=1001 auid=1001 ses=7 msg='op=PAM:session_open grantors=pam_unix "
    text += 'acct="bob" exe="/usr/bin/su" hostname=? addr=? terminal=/dev/pts/1 res=success\''
    made = only(host, record("USER_START", text), record("CRED_ACQ", text))
    assert made.event.privilege_use.target_user == "bob"
    assert made.event.privilege_use.command == b"id --password=[redacted]"
    assert made.event.attribution == events.ATTRIBUTION_EXACT
    assert made.image.exec_id == image.exec_id


def test_sudo_is_told_once_with_the_account_of_its_other_records(host):
    _, shell = host.sshd()
    sudo, _ = host.run(shell, "/usr/bin/sudo", "id")
    command = record("USER_CMD", SUDO.format(sudo, 'cwd="/" cmd=6964202D75', "terminal=pts/1"))
    start = record("USER_START", SUDO.format(sudo, 'op=PAM:session_open acct="postgres"', "addr=?"))
    use = only(host, command, start).event.privilege_use
    assert (use.command, use.target_user) == (b"id -u", "postgres")


def test_sudo_alone_names_whom_its_command_line_asked_for(host):
    sudo, _ = host.run(1, "/usr/bin/sudo", "-u", "nobody", "id")
    command = record("USER_CMD", SUDO.format(sudo, 'cwd="/" cmd="id"', "terminal=?"))
    assert only(host, command).event.privilege_use.target_user == "nobody"


def test_a_session_that_cron_opens_is_no_use_of_rights(host):
    text = 'pid=5 uid=0 auid=0 ses=9 msg=\'op=PAM:session_open acct="root" exe="/usr/sbin/cron"\''
    assert not list(events_of(record("USER_START", text), host.identifier, host.now))


@pytest.mark.parametrize(
    ("kind", "result", "action", "succeeded"),
    [
        ("SERVICE_START", "success", events.ServiceChange.ACTION_STARTED, True),
        ("SERVICE_STOP", "success", events.ServiceChange.ACTION_STOPPED, True),
        ("SERVICE_START", "failed", events.ServiceChange.ACTION_STARTED, False),
    ],
)
def test_a_service_is_told_by_its_manager(host, kind, result, action, succeeded):
    text = "pid=1 uid=0 auid=4294967295 ses=4294967295 subj=system_u msg='unit=getty@tty1 "
    text += f'comm="systemd" exe="/usr/lib/systemd/systemd" hostname=? res={result}\''
    made = only(host, record(kind, text))
    change = made.event.service_change
    assert (change.unit, change.action) == ("getty@tty1.service", action)
    assert (change.succeeded, made.image.pid) == (succeeded, 1)


@pytest.mark.parametrize(
    ("operation", "action", "version", "previous"),
    [
        ("install", events.PackageChange.ACTION_INSTALLED, "2.0-1.el9", ""),
        ("update", events.PackageChange.ACTION_UPGRADED, "2.0-1.el9", ""),
        ("remove", events.PackageChange.ACTION_REMOVED, "", "2.0-1.el9"),
    ],
)
def test_a_package_is_told_by_rpm(host, operation, action, version, previous):
    text = f'pid=70 uid=0 auid=1001 ses=3 msg=\'op={operation} sw="lib-x-2.0-1.el9.x86_64" '
    text += 'sw_type=rpm key_enforce=0 gpg_res=1 root_dir="/" comm="dnf" exe="/usr/bin/python3.9" '
    change = only(host, record("SOFTWARE_UPDATE", text + "res=success'")).event.package_change
    assert (change.name, change.manager) == ("lib-x", "rpm")
    assert (change.action, change.version, change.previous_version) == (action, version, previous)
    failed = record("SOFTWARE_UPDATE", text + "res=failed'")
    assert not list(events_of(failed, host.identifier, host.now))


def test_bpf_programs_and_modules_are_told(host):
    made = only(host, record("BPF", "prog-id=3756 op=LOAD"))
    assert made.event.kernel_change.action == events.KernelChange.ACTION_BPF_LOADED
    assert made.event.kernel_change.program_id == 3756
    assert (made.image, made.event.attribution) == (None, events.ATTRIBUTION_UNKNOWN)
    gone = only(host, record("BPF", "prog-id=3756 op=UNLOAD")).event.kernel_change
    assert gone.action == events.KernelChange.ACTION_BPF_UNLOADED
    plain = only(host, record("KERN_MODULE", 'name="evil"')).event.kernel_change
    assert (plain.name, plain.action) == ("evil", events.KernelChange.ACTION_UNSPECIFIED)
    removed = only(host, record("KERN_MODULE", 'arch=c000003e syscall=176 pid=9 name="evil"'))
    assert removed.event.kernel_change.action == events.KernelChange.ACTION_MODULE_UNLOADED


@given(
    st.sampled_from(sorted(NUMBERS)),
    st.dictionaries(
        st.sampled_from(NAMES),
        st.binary(max_size=20) | st.sampled_from([b"success", b"LOAD", b"99999999999", b"1"]),
    ),
)
def test_any_fields_are_survived(tmp_path_factory, kind, fields):
    host = Host(tmp_path_factory.getbasetemp() / "passwd")
    record = AuditRecord(kind, 0, 0, fields=fields)
    for made in events_of(record, host.identifier, host.now, targets_of([record])):
        made.event.SerializeToString()
