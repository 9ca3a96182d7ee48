"""The product's main job, on the real kernel and the real programs, over REST and in the CSV.

A daemon that always did it adds an account: recorded. A person does: an alert. A service that never
did: an alert. Cron: not interactive.
"""

import os
import subprocess
import sys
import time

import pytest

from tests.system.running import ROOT, Daemon, as_person, environment, wait

pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's event sources"),
    pytest.mark.timeout(300),
]

ACCOUNT_FILES = {"/etc/passwd", "/etc/passwd-", "/etc/shadow", "/etc/shadow-"}


@pytest.fixture
def daemons(place):
    made = []

    def make(name: str, folder: str = "d") -> Daemon:
        daemon = Daemon(place / f"{folder}{len(made)}", name)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.close()


def activities_of(nightherd, account: str) -> list[dict]:
    """Activities "accounts modified" whose command names `account`."""
    found = nightherd.get(
        "forensic/activities", type="accounts modified", search=account, herd="default"
    )
    return [a for a in found if account in a["command"]]


def alerts_about(nightherd, text: str) -> list[dict]:
    return [
        a
        for a in nightherd.get("audits/runtime/host", search=text)
        if text in a.get("msg", "") or text in a.get("app", "")
    ]


def the_activity(nightherd, account: str) -> dict:
    """The one activity about `account`, with all its files."""
    found = wait(
        lambda: [
            a for a in activities_of(nightherd, account) if set(a["modifiedFiles"]) >= ACCOUNT_FILES
        ]
    )
    assert len(activities_of(nightherd, account)) == 1
    return found[0]


def in_csv(nightherd, path: str, key: str, value: str) -> dict[str, str]:
    rows = [row for row in nightherd.csv(f"{path}/download") if row[key] == value]
    assert len(rows) == 1
    return rows[0]


def test_a_daemon_that_learned_it_adds_an_account_one_activity_no_alert(
    nightherd, daemons, user_names
):
    daemon = daemons("accountsd")
    daemon.order(f"useradd -M {user_names[0]}")
    wait(lambda: (m := nightherd.model(daemon.service)) and "USERS_ADMIN" in m["capabilities"])
    assert nightherd.model(daemon.service)["state"] == "learning"
    nightherd.activate(daemon.service)
    daemon.order(f"useradd -M {user_names[1]}")
    activity = the_activity(nightherd, user_names[1])
    assert activity["interactive"] is False
    assert activity["service"] == daemon.service
    assert activity["provenance"] == "service"
    assert activity["user"] == "root"
    assert alerts_about(nightherd, daemon.service) == []
    row = in_csv(nightherd, "forensic/activities", "id", activity["id"])
    assert (row["type"], row["interactive"], row["service"]) == (
        "accounts modified",
        "false",
        daemon.service,
    )
    assert set(row["modifiedFiles"].split("; ")) >= ACCOUNT_FILES


@pytest.mark.parametrize("terminal", [True, False], ids=["at a terminal", "remotely, no terminal"])
def test_a_person_adds_an_account_one_activity_and_an_alert(
    nightherd, person, user_names, terminal
):
    name, uid = person
    as_person(uid, f"useradd -M {user_names[0]}", terminal=terminal)
    done = time.time()
    alert = wait(lambda: alerts_about(nightherd, user_names[0]))[0]
    print(
        f"\nfrom the end of the session (0.5 s after the change) to the alert over REST: {time.time() - done:.3f} s"
    )
    activity = the_activity(nightherd, user_names[0])
    assert (activity["user"], activity["interactive"]) == (name, True)
    assert activity["provenance"] == ("interactive" if terminal else "scripted")
    assert bool(activity.get("terminal")) == terminal
    assert activity.get("service", "") == ""
    assert (alert["user"], alert["interactive"], alert["count"]) == (name, True, 1)
    assert alert["accounts"] == [user_names[0]]
    assert name in alert["msg"]
    row = in_csv(nightherd, "audits/runtime/host", "_id", alert["_id"])
    assert (row["user"], row["interactive"]) == (name, "true")
    assert user_names[0] in row["msg"]


def test_the_alert_does_not_wait_for_the_end_of_the_session(
    nightherd, person, user_names, tmp_path
):
    from threading import Thread

    (_, uid), account = person, user_names[0]
    done, leave = tmp_path / "done", tmp_path / "leave"
    command = (
        f"useradd -M {account}; date +%s.%N > {done}; while ! [ -e {leave} ]; do sleep 0.1; done"
    )
    session = Thread(target=as_person, args=(uid, command), kwargs={"terminal": True})
    session.start()
    try:
        wait(lambda: alerts_about(nightherd, account), pause_s=0.01)
        seen = time.time()
        assert session.is_alive()
    finally:
        leave.touch()
        session.join()
    print(
        f"\nfrom the change on the host to the alert over REST: {seen - float(done.read_text())} s"
    )


def test_a_service_without_the_capability_is_an_alert_twice_is_count_two_and_not_learned(
    nightherd, daemons, user_names
):
    daemon = daemons("quietd")
    daemon.order("/usr/bin/true")
    nightherd.soon(
        lambda: (
            (m := nightherd.model(daemon.service))
            and "/usr/bin/true" in m["behaviours"].get("runs", [])
        )
    )
    nightherd.activate(daemon.service)
    daemon.order(f"useradd -M {user_names[0]}")
    text = (
        f"Service {daemon.service} attempted to obtain capability USERS_ADMIN "
        "by executing /usr/sbin/useradd"
    )
    wait(lambda: alerts_about(nightherd, text))
    the_activity(nightherd, user_names[0])
    daemon.order(f"useradd -M {user_names[1]}")
    the_activity(nightherd, user_names[1])
    alert = wait(lambda: [a for a in alerts_about(nightherd, text) if a["count"] == 2])[0]
    assert (alert["app"], alert["msg"], alert["interactive"]) == (daemon.service, text, False)
    assert [a["msg"] for a in alerts_about(nightherd, daemon.service)] == [text]
    model = nightherd.model(daemon.service)
    assert "USERS_ADMIN" not in model["capabilities"]
    assert {"facet": "obtains", "subject": "USERS_ADMIN"} in model["candidates"]
    assert in_csv(nightherd, "audits/runtime/host", "_id", alert["_id"])["count"] == "2"


def test_an_impostor_of_the_same_name_elsewhere_does_not_inherit_the_model(
    nightherd, daemons, user_names
):
    real = daemons("usersd")
    real.order(f"useradd -M {user_names[0]}")
    wait(lambda: (m := nightherd.model(real.service)) and "USERS_ADMIN" in m["capabilities"])
    nightherd.activate(real.service)
    impostor = daemons("usersd", folder="elsewhere")
    impostor.order(f"useradd -M {user_names[1]}")
    activity = the_activity(nightherd, user_names[1])
    assert activity["service"] == impostor.service != real.service
    model = wait(lambda: nightherd.model(impostor.service))
    assert model["state"] == "learning"
    assert activity.get("wouldAlert") is True


def test_two_herds_do_not_share_models(nightherd, daemons, user_names, place):
    daemon = daemons("herdd")
    daemon.order(f"useradd -M {user_names[0]}")
    wait(lambda: (m := nightherd.model(daemon.service)) and "USERS_ADMIN" in m["capabilities"])
    nightherd.activate(daemon.service)
    the_activity(nightherd, user_names[0])
    # The same doings on a host of another herd: what this host recorded, replayed there.
    recorded = place / "recorded.seg"
    with nightherd.paused("agent"):
        spool = sorted((nightherd.home / "agent" / "spool").glob("*.seg"))
        recorded.write_bytes(b"".join(path.read_bytes() for path in spool))
    replay = [sys.executable, "-m", "cli", "replay", "--herd", "other", str(recorded)]
    own = environment(NIGHTHERD_HOME=str(nightherd.home))
    run = subprocess.run(replay, env=own, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    other = wait(lambda: nightherd.model(daemon.service, "other"))
    assert (other["state"], other["herd"]) == ("learning", "other")
    assert nightherd.model(daemon.service)["state"] == "manualActive"
    found = wait(
        lambda: nightherd.get(
            "forensic/activities", herd="other", search=user_names[0], type="accounts modified"
        )
    )
    assert [a["wouldAlert"] for a in found] == [True]


def test_cron_adds_an_account_not_interactive_service_cron(nightherd, by_cron):
    if by_cron is None:
        pytest.skip("cron is not installed and cannot be used")
    wait(lambda: activities_of(nightherd, by_cron), timeout_s=130, pause_s=0.5)
    activity = the_activity(nightherd, by_cron)
    assert activity["interactive"] is False
    assert activity["provenance"] == "scheduled"
    assert activity["service"] == "/usr/sbin/cron"
    assert [a for a in alerts_about(nightherd, by_cron) if a["interactive"]] == []
