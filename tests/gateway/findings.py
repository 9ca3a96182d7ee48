"""Findings as detectors record them; every argument has a valid default."""

import secrets

from chassis import clock
from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2 as model
from tests.builders import CHAIN, T0


def an_actor(**fields):
    values = {
        "exec_id": "b:500:1:1",
        "pid": 500,
        "ppid": 400,
        "executable": b"/usr/sbin/useradd",
        "command": b"useradd mallory",
        "user": "alice",
        "effective_user": "root",
        "session_id": 7,
        "terminal": "pts/1",
        "source_address": "192.0.2.7",
        "provenance": events.PROVENANCE_INTERACTIVE,
        "interactive": True,
        "ancestors": [b"/usr/bin/bash", b"/usr/sbin/sshd"],
        "attribution": events.ATTRIBUTION_EXACT,
    }
    return pb.Actor(**values | fields)


def _finding(time_ns, hostname, host_id, **kind):
    return pb.Finding(
        occurrence_id=secrets.token_hex(32),
        host_id=host_id,
        hostname=hostname,
        herd="default",
        chain_id=CHAIN,
        batch_number=1,
        event_time=clock.to_timestamp(time_ns),
        model_revision=3,
        **kind,
    )


def an_activity(
    type=pb.ACTIVITY_TYPE_ACCOUNTS_MODIFIED,  # noqa: A002
    time_ns=T0,
    hostname="web-1",
    host_id="1" * 32,
    files=(b"/etc/shadow", b"/etc/passwd"),
    would_alert=False,
    **actor,
):
    return _finding(
        time_ns,
        hostname,
        host_id,
        actor=an_actor(**actor),
        activity=pb.Activity(
            activity_id=secrets.token_hex(32),
            type=type,
            modified_files=files,
            rule_name="default",
            would_alert=would_alert,
        ),
    )


def an_alert(
    key="",
    time_ns=T0,
    hostname="web-1",
    host_id="1" * 32,
    message="Service nginx attempted to obtain capability USERS_ADMIN",
    type="processes",  # noqa: A002
    **actor,
):
    return _finding(
        time_ns,
        hostname,
        host_id,
        actor=an_actor(**actor),
        alert=pb.Alert(
            alert_key=key or secrets.token_hex(32),
            type=type,
            attack_type="capabilityViolation",
            severity=pb.SEVERITY_HIGH,
            effect="alert",
            rule_name="model",
            message=message,
            attack_techniques=["T1136.001"],
            modified_files=[b"/etc/passwd"],
            deviation=model.Behaviour(facet=model.FACET_OBTAINS, subject="USERS_ADMIN"),
            expected="3 behaviours",
            accounts=["mallory"],
        ),
    )
