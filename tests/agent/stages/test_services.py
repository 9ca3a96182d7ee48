"""What control groups say, by paths as systemd, container runtimes and Kubernetes make them."""

import pytest

from agent.stages.services import TRANSIENT, place_of
from nightherd.event.v1 import event_pb2 as events
from tests.agent.stages.host import Host

ID = "3f9a6c0e" * 8
CONTAINERD = "/system.slice/containerd.service"
PODS = "/kubepods.slice/kubepods-burstable.slice"
USER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("cgroup", "unit", "container_id", "user_unit"),
    [
        ("", None, "", False),
        ("/", None, "", False),
        ("/init.scope", None, "", False),
        ("/system.slice/ssh.service", "ssh.service", "", False),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@.service", "", False),
        ("/system.slice/pg.slice/postgresql@15-main.service", "postgresql@.service", "", False),
        ("/system.slice/snap.lxd.daemon.service", "snap.lxd.daemon.service", "", False),
        # Delegated: the nearest unit counts.
        ("/system.slice/docker.service/init", "docker.service", "", False),
        ("/system.slice/run-u42.service", TRANSIENT, "", False),
        ("/system.slice/run-r3b0c44298fc1c149afbf4c8996fb9242.service", TRANSIENT, "", False),
        ("/system.slice/run-r3b0c44298fc1c149afbf4c8996fb9242.scope", TRANSIENT, "", False),
        # A person's login session, and what runs below the person's manager.
        ("/user.slice/user-1000.slice/session-3.scope", "", "", False),
        ("/user.slice/user-1000.slice/session-c1.scope", "", "", False),
        (f"{USER}/init.scope", "", "", False),
        (f"{USER}/app.slice/syncthing.service", "syncthing.service", "", True),
        (f"{USER}/session.slice/pipewire.service", "pipewire.service", "", True),
        (f"{USER}/app.slice/app-gnome-firefox-2214.scope", "", "", True),
        (f"{USER}/tmux-spawn-0b2f7b4e-1d5c-4c1f-9d2b-6f7f0ce6f8aa.scope", "", "", True),
        # Containers.
        (f"/system.slice/docker-{ID}.scope", TRANSIENT, ID, False),
        (f"/docker/{ID}", None, ID, False),
        (f"/docker/{ID}/init.scope", None, ID, False),
        (f"/machine.slice/libpod-{ID}.scope/container", TRANSIENT, ID, False),
        (f"{USER}/user.slice/libpod-{ID}.scope/container", "", ID, True),
        (
            f"{PODS}/kubepods-burstable-pod0a1b2c3d_1111.slice/cri-containerd-{ID}.scope",
            TRANSIENT,
            ID,
            False,
        ),
        (f"/kubepods/besteffort/pod0a1b2c3d-1111-2222-3333-444455556666/{ID}", None, ID, False),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", TRANSIENT, ID, False),
        (f"{CONTAINERD}/kubepods-pod1:cri-containerd:{ID}", "containerd.service", ID, False),
        # Not one: 63 digits, capitals, or no digits at all.
        (f"/docker/{ID[:-1]}", None, "", False),
        (f"/docker/{ID.upper()}", None, "", False),
    ],
)
def test_a_path_says_unit_container_and_whether_it_is_a_persons(
    cgroup, unit, container_id, user_unit
):
    place = place_of(cgroup)
    assert place[:3] == (unit, container_id, user_unit)
    assert place.user_scope == (user_unit and unit == "")


PANE = f"{USER}/tmux-spawn-0b2f7b4e-1d5c-4c1f-9d2b-6f7f0ce6f8aa.scope"
WINDOW = f"{USER}/app.slice/vte-spawn-5e0a4a1c-0d3b-4c1f-9d2b-6f7f0ce6f8aa.scope"


def test_a_pane_that_tmux_put_into_a_scope_stays_the_persons(tmp_path):
    host = Host(tmp_path / "passwd")
    monitor, shell = host.sshd()
    tmux, _ = host.run(shell, "/usr/bin/tmux", session_leader=0, terminal="")
    pane, image = host.run(tmux, "/bin/bash", terminal="pts/5", cgroup=PANE)
    assert (image.provenance, image.login_user, image.service) == (
        events.PROVENANCE_INTERACTIVE,
        "alice",
        "",
    )
    host.exit(shell)
    host.exit(monitor)
    host.now += 2_000_000_000
    assert host.run(pane, "/usr/sbin/useradd", "bob")[1].provenance == events.PROVENANCE_DETACHED


def test_what_a_persons_manager_runs_is_a_user_service_but_for_a_terminal_window(tmp_path):
    host = Host(tmp_path / "passwd")
    manager = host.fork(1, cgroup=f"{USER}/init.scope")
    host.exec(manager, "/usr/lib/systemd/systemd-executor")
    host.login(manager, 2, 1001)
    _, image = host.run(manager, "/usr/lib/systemd/systemd", "--user")
    assert (image.provenance, image.service) == (events.PROVENANCE_USER_SERVICE, "")
    unit = f"{USER}/app.slice/syncthing.service"
    _, image = host.run(manager, "/usr/bin/syncthing", cgroup=unit)
    assert (image.provenance, image.service) == (
        events.PROVENANCE_USER_SERVICE,
        "syncthing.service",
    )
    _, image = host.run(manager, "/usr/bin/script", cgroup=unit, terminal="pts/1")
    assert image.provenance == events.PROVENANCE_USER_SERVICE
    desktop, image = host.run(manager, "/usr/bin/firefox", cgroup=f"{USER}/app-firefox-1.scope")
    assert (image.provenance, image.service) == (events.PROVENANCE_USER_SERVICE, "")
    _, image = host.run(desktop, "/bin/bash", cgroup=WINDOW, terminal="pts/2")
    assert (image.provenance, image.login_user) == (events.PROVENANCE_INTERACTIVE, "alice")
