"""The pieces that the sentences of timeline.yaml are made of, each safe to read."""

from collections.abc import Callable
from typing import Any

from chassis.text import show
from evidence import file_pieces, network_pieces, origins, process_pieces
from evidence.phrases import command, on, origin, program, who
from evidence.users import effective_of, person_of
from nightherd.event.v1 import event_pb2 as events

Pieces = dict[str, str]


def actor(image: events.Image | None) -> Pieces:
    """Return what is said about who did it."""
    if image is None:
        return dict(_NOBODY)
    person, user = person_of(image), effective_of(image)
    rights = f" (as {show(user)})" if person and user not in ("", person) else ""
    called = show(person) if image.login_user else f"User {person}"
    born = origins.behind(image.born_from) if image.HasField("born_from") else ""
    return {
        "who": (called + rights if person else who(image.user, image.service)) + born,
        "program": program(image.script or image.executable),
        "command": command(b" ".join(image.arguments) or image.executable),
        "how": origins.how(image),
        "pid": str(image.pid),
    }


_NOBODY = {
    "who": "Somebody",
    "program": "a program",
    "command": "a program",
    "how": "",
    "pid": "of an unknown number",
}


def of_event(event: events.Event) -> Pieces:
    """Return the pieces of what happened."""
    kind = event.WhichOneof("kind")
    made = OF_KIND.get(kind or "")
    return made(getattr(event, kind)) if made is not None and kind else {}


def of_gap(gap: events.Gap) -> Pieces:
    """Return the pieces of what is missing."""
    lost = "Events"
    if gap.precision == events.Gap.PRECISION_EXACT:
        lost = f"{gap.lost} events"
    elif gap.precision == events.Gap.PRECISION_AT_LEAST:
        lost = f"At least {gap.lost} events"
    return {
        "lost": lost,
        "source": f" ({show(gap.source)})" if gap.source else "",
        "service": show(gap.service) or "a service",
    }


def _nothing(_: Any) -> Pieces:
    return {}


def _exit(said: events.Exit) -> Pieces:
    if said.signal:
        return {"ending": f"by signal {said.signal}"}
    return {"ending": f"with status {said.code}" if said.HasField("code") else "somehow"}


def _session_start(said: events.SessionStart) -> Pieces:
    return {
        "person": show(said.login_user) or f"User {said.login_user_id}",
        "session": str(said.session_id),
        "terminal": on(said.terminal),
        "origin": origin(said.source_address),
    }


def _auth_failure(said: events.AuthFailure) -> Pieces:
    return {
        "refuser": program(said.program),
        "account": show(said.account) or "somebody",
        "terminal": on(said.terminal),
        "origin": origin(said.source_address),
    }


def _account_change(said: events.AccountChange) -> Pieces:
    change = events.AccountChange
    fields = ", ".join(show(field) for field in said.fields)
    return {
        "action": {change.ACTION_ADDED: "added", change.ACTION_REMOVED: "removed"}.get(
            said.action, "changed"
        ),
        "subject": "group" if said.subject == change.SUBJECT_GROUP else "user",
        "name": show(said.name),
        "fields": f" ({fields})" if fields else "",
    }


def _package_change(said: events.PackageChange) -> Pieces:
    change = events.PackageChange
    versions = ""
    if said.previous_version and said.version:
        versions = f" from {show(said.previous_version)} to {show(said.version)}"
    elif said.previous_version or said.version:
        versions = f" {show(said.version or said.previous_version)}"
    return {
        "action": {
            change.ACTION_INSTALLED: "installed",
            change.ACTION_UPGRADED: "upgraded",
            change.ACTION_REMOVED: "removed",
        }.get(said.action, "changed"),
        "name": show(said.name),
        "versions": versions,
    }


def _service_change(said: events.ServiceChange) -> Pieces:
    change = events.ServiceChange
    return {
        "action": {change.ACTION_STARTED: "started", change.ACTION_STOPPED: "stopped"}.get(
            said.action, "changed"
        ),
        "unit": show(said.unit),
        "outcome": "" if said.succeeded else ", which failed",
    }


def _kernel_change(said: events.KernelChange) -> Pieces:
    change, name = events.KernelChange, show(said.name)
    return {
        "action": {
            change.ACTION_MODULE_LOADED: f"loaded the kernel module {name}",
            change.ACTION_MODULE_UNLOADED: f"took out the kernel module {name}",
            change.ACTION_BPF_LOADED: f"loaded BPF program {said.program_id}",
            change.ACTION_BPF_UNLOADED: f"took out BPF program {said.program_id}",
        }.get(said.action, "changed the kernel's code")
    }


def _time_change(said: events.TimeChange) -> Pieces:
    seconds = abs(said.step_ns) / 1e9
    return {"step": f"{'back' if said.step_ns < 0 else 'forward'} by {seconds:.3f} s"}


def _login_user_change(said: events.LoginUserChange) -> Pieces:
    def number(field: str) -> str:
        return str(getattr(said, field)) if said.HasField(field) else "nobody"  # type: ignore[arg-type]

    return {"before": number("previous_login_user_id"), "after": number("login_user_id")}


def _host_facts(said: events.HostFacts) -> Pieces:
    return {
        "hostname": show(said.hostname) or "without a name",
        "os": show(said.os_name) or "an unknown system",
        "kernel": show(said.kernel) or "unknown",
    }


def _agent_status(said: events.AgentStatus) -> Pieces:
    status = events.AgentStatus
    levels = {events.LEVEL_FULL: "full", events.LEVEL_AUDIT: "audit", events.LEVEL_POLL: "poll"}
    return {
        "state": {
            status.STATE_STARTED: "began to watch",
            status.STATE_STOPPING: "stops",
            status.STATE_LEVEL_CHANGED: "changed what it sees: it watches",
        }.get(said.state, "is watching"),
        "level": levels.get(said.level, "unknown"),
    }


OF_KIND: dict[str, Callable[[Any], Pieces]] = {
    "exec": _nothing,
    "exit": _exit,
    "session_start": _session_start,
    "session_end": lambda said: {"session": str(said.session_id)},
    "auth_failure": _auth_failure,
    "privilege_use": lambda said: {
        "command": command(said.command),
        "target": show(said.target_user) or "another user",
    },
    "account_change": _account_change,
    "firewall_change": lambda said: {
        "operation": show(said.operation) or "changed",
        "table": f" in {show(said.table)}" if said.table else "",
    },
    "package_change": _package_change,
    "service_change": _service_change,
    "kernel_change": _kernel_change,
    "time_change": _time_change,
    "login_user_change": _login_user_change,
    "host_facts": _host_facts,
    "agent_status": _agent_status,
    "gap": _nothing,
    "fork": _nothing,
    **file_pieces.OF_KIND,
    **network_pieces.OF_KIND,
    **process_pieces.OF_KIND,
}
"""Pieces of each kind; what a sentence needs of the actor, or of a gap, is made elsewhere."""
