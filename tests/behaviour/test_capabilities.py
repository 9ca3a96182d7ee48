"""The 15 capabilities as data, and what obtains them."""

import pytest

from behaviour.capabilities import capabilities, of_file, of_program, of_socket

CONTRACT = {
    "SYSTEM_LOGS", "DOCKER_SOCKET", "DOCKER", "K8S", "OPENSHIFT", "USERS", "USERS_ADMIN", "SSH",
    "SHELL", "NET", "HOSTS_CONFIG", "GCLOUD", "INSTALLER", "SERVICE_OPERATOR", "PRIVILEGED_PROCESSES",
}  # fmt: skip


def test_they_are_those_of_the_contract_and_described():
    assert {capability.name for capability in capabilities()} == CONTRACT
    assert all(capability.description.endswith(".") for capability in capabilities())


def test_what_no_sensor_sees_never_matches():
    unseen = {capability.name for capability in capabilities() if not capability.sensed}
    assert unseen == {"USERS"}
    assert of_file("/run/docker.sock") == ()  # it is connected to, not written
    assert of_socket("/run/docker.sock") == ("DOCKER_SOCKET",)
    assert of_socket("/run/nginx.sock") == ()
    assert of_file("/etc/passwd") == ("USERS_ADMIN",)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/usr/sbin/useradd", ("USERS_ADMIN",)),
        ("/usr/sbin/adduser", ("USERS_ADMIN",)),
        ("/sbin/groupadd", ("USERS_ADMIN",)),
        ("/bin/bash", ("SHELL",)),
        ("/usr/bin/apt-get", ("INSTALLER",)),
        ("/usr/lib/systemd/systemd", ("SERVICE_OPERATOR",)),
        ("/tmp/useradd", ()),
        ("/opt/tool/sbin/useradd", ()),
        ("useradd", ()),
        ("/usr/sbin/nginx", ()),
    ],
)
def test_a_program_counts_where_the_system_keeps_programs(path, names):
    assert of_program(path) == names


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/etc/shadow", ("USERS_ADMIN",)),
        ("/etc/shadow-", ("USERS_ADMIN",)),
        ("/etc/passwd+", ("USERS_ADMIN",)),
        ("/etc/passwd.<n>", ("USERS_ADMIN",)),
        ("/etc/.pwd.lock", ("USERS_ADMIN",)),
        ("/etc/passwdx", ()),
        ("/etc/hosts", ("HOSTS_CONFIG",)),
        ("/home/bob/.ssh/authorized_keys", ("SSH",)),
        ("/home/a/b/.ssh/authorized_keys", ()),
        ("/usr/local/bin/deep/er", ("INSTALLER",)),
        ("/etc/rc2.d/S01x", ("SERVICE_OPERATOR",)),
        ("/var/log/auth.log.1", ("SYSTEM_LOGS",)),
        ("/var/log/nginx/access.log", ()),
        ("/var/lib/x", ()),
    ],
)
def test_a_file_counts_by_its_glob(path, names):
    assert of_file(path) == names
