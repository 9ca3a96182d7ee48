"""A service does what its model does not know: one alert for one action, counted by occurrences."""

import pytest

from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2 as m
from tests.builders import an_ancestor, an_event, an_image, below, changes
from tests.services.detector.judged import a_model, judged

SERVICE = "http-server.service"
DAEMON = an_ancestor(
    "/usr/bin/python3.11", pid=300, script=b"/opt/http-server", command=b"python3 /opt/http-server"
)


def useradd(pid=500, account="bob", above=(DAEMON,), **fields):
    fields = {"service": SERVICE} | fields
    image = an_image("/usr/sbin/useradd", ["useradd", "-m", account], pid=pid, **fields)
    return below(image, *above)


def model(*behaviours, **options):
    return a_model(SERVICE, (m.FACET_RUNS, "/usr/bin/python3.11"), *behaviours, **options)


FILES = an_event(
    file_change=changes(
        "/etc/passwd", "/etc/shadow", "/etc/passwd-", "/etc/.pwd.lock", "/home/bob/.bashrc"
    )
)


def test_one_useradd_is_one_alert_though_it_runs_and_writes_and_starts_things():
    image = useradd()
    nscd = below(
        an_image("/usr/sbin/nscd", ["nscd", "-i", "passwd"], pid=501, service=SERVICE),
        an_ancestor("/usr/sbin/useradd", pid=500),
        DAEMON,
    )
    activities, alerts = judged(
        (image, an_event()), (nscd, an_event()), (image, FILES), model=model()
    )
    (alert,) = alerts
    assert alert.alert.message == (
        f"Service {SERVICE} attempted to obtain capability USERS_ADMIN by executing /usr/sbin/useradd"
    )
    assert alert.alert.attack_type == "capabilityViolation"
    assert alert.alert.severity == pb.SEVERITY_HIGH
    assert list(alert.alert.attack_techniques) == ["T1136.001"]
    assert list(alert.alert.accounts) == ["bob"]
    assert b"/etc/passwd" in alert.alert.modified_files
    assert alert.alert.activity_id == activities[0].activity.activity_id
    assert alert.model_revision == 7
    assert not activities[0].actor.interactive


@pytest.mark.parametrize("order", [1, -1])
def test_exec_and_writes_in_different_batches_are_one_occurrence(order):
    image = useradd()
    parts = [judged((image, e), number=n, model=model()) for n, e in ((1, an_event()), (2, FILES))]
    occurrences = {a.occurrence_id for _, alerts in parts[::order] for a in alerts}
    messages = {a.alert.message for _, alerts in parts for a in alerts}
    assert (len(occurrences), len(messages)) == (1, 1)


def test_two_runs_are_one_alert_with_two_occurrences():
    _, alerts = judged(
        (useradd(500), an_event()), (useradd(600, "carol"), an_event()), model=model()
    )
    assert len({a.alert.alert_key for a in alerts}) == 1
    assert len({a.occurrence_id for a in alerts}) == 2


def test_adduser_and_the_useradd_it_starts_are_one_occurrence():
    above = an_ancestor(
        "/usr/bin/perl", pid=490, script=b"/usr/sbin/adduser", command=b"adduser bob"
    )
    adduser = an_image(
        "/usr/bin/perl",
        ["perl", "/usr/sbin/adduser", "bob"],
        pid=490,
        script=b"/usr/sbin/adduser",
        service=SERVICE,
        exec_id=above.exec_id,
    )
    _, alerts = judged(
        (below(adduser, DAEMON), an_event()),
        (useradd(above=(above, DAEMON)), an_event()),
        model=model(),
    )
    (alert,) = alerts
    assert alert.alert.message.endswith("by executing /usr/sbin/adduser")


def test_hosts_of_a_herd_share_an_alert_and_herds_do_not():
    def key(herd, host_id):
        _, alerts = judged(
            (useradd(), an_event()), model=model(herd=herd), herd=herd, host_id=host_id
        )
        return alerts[0].alert.alert_key, alerts[0].occurrence_id

    one, two, other = key("default", "0" * 32), key("default", "1" * 32), key("web", "0" * 32)
    assert one[0] == two[0] != other[0]
    assert len({one[1], two[1], other[1]}) == 3


def test_a_model_of_another_herd_or_service_does_not_count():
    allowed = (m.FACET_OBTAINS, "USERS_ADMIN")
    assert judged((useradd(), an_event()), model=model(allowed))[1] == []
    activities, alerts = judged((useradd(), FILES), model=model(allowed, herd="web"))
    assert (activities[0].activity.would_alert, alerts) == (True, [])


def test_a_learning_service_is_recorded_with_would_alert_and_no_alert():
    activities, alerts = judged(
        (useradd(), an_event()), (useradd(), FILES), model=model(active=False)
    )
    assert [a.activity.would_alert for a in activities] == [True]
    assert alerts == []
    learned = model((m.FACET_OBTAINS, "USERS_ADMIN"), active=False)
    assert not judged((useradd(), FILES), model=learned)[0][0].activity.would_alert


def test_a_job_of_cron_is_judged_as_its_service():
    job = useradd(
        provenance=events.PROVENANCE_SCHEDULED,
        service="cron.service",
        session_id=5,
        login_user="root",
    )
    activities, alerts = judged((job, an_event()), (job, FILES), model=a_model("cron.service"))
    assert (activities[0].actor.interactive, activities[0].actor.service) == (False, "cron.service")
    assert len(alerts) == 1


def test_a_daemon_that_writes_the_file_itself_is_one_occurrence_a_batch():
    daemon = an_image("/opt/http-server", service=SERVICE)
    write = an_event(file_change=changes("/etc/passwd"))
    known = model((m.FACET_RUNS, "/opt/http-server"))
    _, first = judged((daemon, write), (daemon, write), model=known)
    _, second = judged((daemon, write), model=known, number=2)
    assert [a.alert.message for a in first] == [
        f"Service {SERVICE} attempted to obtain capability USERS_ADMIN by writing /etc/passwd"
    ]
    assert first[0].alert.alert_key == second[0].alert.alert_key
    assert first[0].occurrence_id != second[0].occurrence_id


def test_what_a_forbidden_shell_starts_is_told_apart():
    shell = an_image("/usr/bin/dash", ["sh", "-c", "useradd eve"], pid=480, service=SERVICE)
    above = an_ancestor("/usr/bin/dash", pid=480)
    _, alerts = judged(
        (below(shell, DAEMON), an_event()),
        (useradd(above=(above, DAEMON)), an_event()),
        model=model(),
    )
    assert [a.alert.deviation.subject for a in alerts] == ["SHELL", "USERS_ADMIN"]


@pytest.mark.parametrize(
    ("image", "event", "attack", "said"),
    [
        (an_image("/opt/other", service=SERVICE), an_event(), "unexpectedProcess", "/opt/other"),
        (
            an_image(service=SERVICE),
            an_event(
                listen=events.Listen(
                    protocol=events.PROTOCOL_TCP, local_address="0.0.0.0", local_port=4444
                )
            ),
            "unexpectedListeningPort",
            "tcp/4444",
        ),
        (
            an_image(service=SERVICE),
            an_event(
                connect=events.Connect(
                    protocol=events.PROTOCOL_TCP, remote_address="9.9.9.9", remote_port=443
                )
            ),
            "unexpectedOutboundPort",
            "tcp/443 public (9.9.9.9)",
        ),
        (
            an_image(service=SERVICE),
            an_event(file_change=changes("/etc/sudoers")),
            "regFileAccess",
            "/etc/sudoers",
        ),
    ],
)
def test_other_deviations_alert_by_their_facet(image, event, attack, said):
    (alert,) = judged((image, event), model=model())[1]
    assert alert.alert.attack_type == attack
    assert said in alert.alert.message


def test_a_new_file_that_nothing_stands_on_is_no_alert():
    image = an_image(service=SERVICE)
    assert judged((image, an_event(file_change=changes("/var/lib/x/new"))), model=model())[1] == []


def test_an_impostor_of_the_same_name_is_an_unexpected_process():
    fake = an_image("/tmp/useradd", service=SERVICE)
    (alert,) = judged((fake, an_event()), model=model((m.FACET_OBTAINS, "USERS_ADMIN")))[1]
    assert alert.alert.attack_type == "unexpectedProcess"


def test_what_runs_for_a_package_manager_is_accepted():
    postinst = useradd(maintenance=True)
    activities, alerts = judged((postinst, an_event()), (postinst, FILES), model=model())
    assert (len(activities), alerts) == (1, [])


def test_a_service_that_makes_a_program_setuid_breaks_its_model():
    image = below(an_image("/bin/chmod", service=SERVICE), DAEMON)
    event = an_event(
        file_change=changes("/srv/x", operation=events.FileChange.OPERATION_ATTRIBUTES)
    )
    quiet = judged((image, event), model=model((m.FACET_RUNS, "/bin/chmod")))[1]
    event.file_change.changes[0].mode = 0o4711
    (alert,) = judged((image, event), model=model((m.FACET_RUNS, "/bin/chmod")))[1]
    assert not quiet
    assert alert.alert.message.startswith(f"Service {SERVICE} changed /srv/x")


def test_a_service_that_connects_to_the_socket_of_docker_obtains_it():
    curl = an_image("/usr/bin/curl", service=SERVICE)
    connect = events.Connect(protocol=events.PROTOCOL_UNIX, path=b"/run/docker.sock")
    _, (alert,) = judged((curl, an_event(connect=connect)), model=model())
    assert alert.alert.message == (
        f"Service {SERVICE} attempted to obtain capability DOCKER_SOCKET "
        "by connecting to /run/docker.sock"
    )
