"""What a person does on a real host, each in its own kind of event, asked for over REST."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import a_name, as_person, wait

pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's event sources"),
    pytest.mark.timeout(300),
]


@pytest.fixture
def program():
    """A program in a program folder, with a further name, both gone afterwards."""
    path = Path("/usr/local/bin") / a_name()
    shutil.copy("/bin/true", path)
    yield path
    for each in (path, path.with_suffix(".ln")):
        each.unlink(missing_ok=True)


@pytest.fixture
def log():
    path = Path("/var/log") / f"{a_name()}.log"
    path.write_text("one line\n" * 100)
    yield path
    path.unlink(missing_ok=True)


def of_kind(nightherd, kind):
    return [(event[kind], image or {}) for event, image in nightherd.events() if kind in event]


def operations(nightherd, path):
    return {
        (change["operation"].removeprefix("OPERATION_"), image.get("loginUser"))
        for told, image in of_kind(nightherd, "fileChange")
        for change in told["changes"]
        if change["path"] == str(path)
    }


def test_a_program_made_setuid_linked_and_given_away_is_told_and_alerts(nightherd, person, program):
    name, uid = person
    link = program.with_suffix(".ln")
    wait(lambda: operations(nightherd, program))
    as_person(
        uid, f"chown 0:4712 {program}; chmod 4755 {program}; ln {program} {link}", terminal=True
    )
    wait(lambda: ("LINKED", name) in operations(nightherd, link))
    changes = [
        change
        for told, _ in of_kind(nightherd, "fileChange")
        for change in told["changes"]
        if change["path"] == str(program) and "groupId" in change
    ]
    assert "4712" in {change["groupId"] for change in changes}
    assert 0o4755 in {change["mode"] for change in changes}
    alert = wait(
        lambda: nightherd.get("audits/runtime/host", search=program.name, attackType="suidBinaries")
    )[0]
    assert (alert["user"], alert["attackTechniques"]) == (name, ["T1548.001"])
    assert "owner's rights" in alert["msg"]
    (row,) = nightherd.get(
        "forensic/activities", type="sensitive files modified", search=f"chmod 4755 {program}"
    )
    assert row["modifiedFiles"] == [str(program)]


def test_a_program_that_a_person_ran_is_found_by_its_hash(nightherd, person, program):
    name, uid = person
    with program.open("ab") as opened:  # no other host has it
        opened.write(program.name.encode())
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    as_person(uid, f"{program}; {program}", terminal=True)
    found = nightherd.soon(lambda: nightherd.get("nightherd/events", sha256=digest))
    assert {row["kind"] for row in found} == {"file_hash"}
    assert len(found) == 1
    assert (found[0]["paths"], found[0]["sha256"]) == ([str(program)], digest)
    # Who wrote it changed a watched folder; whoever came first is named.
    if found[0]["details"]["reason"] == "executed":
        assert found[0]["user"] == name
    summary = nightherd.get("nightherd/events/summary", sha256=digest, facet="host")
    assert [each["count"] for each in summary["facets"]["host"]["values"]] == [1]


def test_a_log_that_is_cut_short_is_told(nightherd, person, log):
    name, uid = person
    wait(lambda: operations(nightherd, log))
    as_person(uid, f"truncate -s 0 {log}", terminal=True)
    wait(lambda: ("TRUNCATED", name) in operations(nightherd, log))


def test_a_package_is_told_with_who_installed_it_and_removed_it(nightherd, person, tmp_path):
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg here")
    name, uid = person
    package = f"nh-test-{a_name()}"
    (tmp_path / "x" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "x" / "DEBIAN" / "control").write_text(
        f"Package: {package}\nVersion: 1.0\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: nothing\n"
    )
    file = tmp_path / "x.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "x", file], check=True, capture_output=True)

    def told():
        return {
            (change["action"], image["executable"], image["loginUser"], image["maintenance"])
            for change, image in of_kind(nightherd, "packageChange")
            if change["name"] == package
        }

    try:
        as_person(uid, f"dpkg -i {file}", terminal=True)
        wait(lambda: ("ACTION_INSTALLED", "/usr/bin/dpkg", name, True) in told())
        as_person(uid, f"dpkg -r {package}", terminal=True)
        wait(lambda: ("ACTION_REMOVED", "/usr/bin/dpkg", name, True) in told())
    finally:
        subprocess.run(["dpkg", "--purge", package], check=False, capture_output=True)
    found = nightherd.get("forensic/activities", type="system update", user=name)
    commands = [row["command"] for row in found]
    assert commands.count(f"dpkg -i {file}") == 1
    assert commands.count(f"dpkg -r {package}") == 1


def test_su_is_told_with_whose_rights_were_taken(nightherd, person):
    name, uid = person
    mark = f"nh-{a_name()}"
    as_person(uid, f"su nobody -s /bin/sh -c ': {mark}'", terminal=True)

    def uses():
        return [
            (use, image)
            for use, image in of_kind(nightherd, "privilegeUse")
            if mark in use["command"]
        ]

    wait(uses)
    ((use, image),) = uses()
    assert (use["targetUser"], image["loginUser"]) == ("nobody", name)
    (row,) = nightherd.get("forensic/activities", type="sudo", search=mark)
    assert (row["user"], row["interactive"]) == (name, True)


def test_a_bpf_program_and_a_late_udp_port_are_told(nightherd):
    code = "from agent.sensors.bpf import BpfSensor; BpfSensor().close()"
    subprocess.run([sys.executable, "-c", code], check=True)
    nightherd.soon(lambda: of_kind(nightherd, "kernelChange"))
    code = (
        "import socket, sys\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.bind(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\nsys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        port = int(process.stdout.readline())
        nightherd.soon(
            lambda: (
                (process.pid, "PROTOCOL_UDP", port)
                in {
                    (image.get("pid"), listen.get("protocol"), listen.get("localPort"))
                    for listen, image in of_kind(nightherd, "listen")
                }
            )
        )
    finally:
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("/etc/cron.d/{}", "cron modified"),
        ("/etc/systemd/system/{}.service", "app install"),
    ],
)
def test_cron_jobs_and_units_are_told(nightherd, person, path, type_):
    name, uid = person
    file = Path(path.format(a_name()))
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        as_person(uid, f"echo '# nothing' > {file}", terminal=True)
        row = wait(lambda: nightherd.get("forensic/activities", type=type_, search=file.name))[0]
    finally:
        file.unlink(missing_ok=True)
    assert (row["user"], row["modifiedFiles"]) == (name, [str(file)])
