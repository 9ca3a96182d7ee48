"""An activity while its batch is read: what belongs together is put together."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.text import show
from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from services.detector.domain.accounts import Account, told
from services.detector.domain.activity_table import Type
from services.detector.domain.actors import boot_of
from services.detector.domain.ids import digest
from services.detector.domain.policy import Policy, Verdict

SHOWN_FILES = 4
MAX_FILES = 1000
MAX_FILES_BYTES = 256 << 10
"""What a finding names of the files of an action; the events have them all."""
COMMAND_CHARACTERS = 200


@dataclass(slots=True)
class Draft:
    """One action of one type, as far as this batch knows it."""

    type: Type
    activity_id: str
    actor: pb.Actor
    time: Timestamp
    person: bool
    files: dict[bytes, None] = field(default_factory=dict)
    also: dict[bytes, None] = field(default_factory=dict)
    rights: dict[bytes, None] = field(default_factory=dict)
    """Of `files`, those that were made to run with their owner's or group's rights."""
    services: dict[str, None] = field(default_factory=dict)
    accounts: set[Account] = field(default_factory=set)
    would_alert: bool = False
    excused: bool = True
    """Whether all of it is what a package manager does to its packages' files."""

    def modified_files(self) -> list[bytes]:
        """Return every file of it, sorted."""
        return bounded(sorted(self.files) + sorted(self.also.keys() - self.files.keys()))

    def activity(self, policy: Policy) -> pb.Activity:
        """Word it as an activity."""
        return pb.Activity(
            activity_id=self.activity_id,
            type=self.type,
            modified_files=self.modified_files(),
            affected_services=list(self.services),
            rule_name=policy.rule_name,
            would_alert=self.would_alert,
        )

    def alert(self, policy: Policy, verdict: Verdict, host_id: str, host: str) -> pb.Alert:
        """Word it as an alert about a person."""
        actor = self.actor
        session = actor.session_id if actor.HasField("session_id") else f"tty {actor.terminal}"
        accounts = told(self.accounts)
        key = digest("policy", host_id, boot_of(actor.exec_id), self.type, actor.user, str(session))
        return pb.Alert(
            alert_key=key,
            type="filesystem" if self.files else "processes",
            attack_type=verdict.attack_type,
            severity=verdict.severity,
            effect=verdict.effect,
            rule_name=policy.rule_name,
            message=self._message(verdict, accounts, host or host_id),
            attack_techniques=verdict.techniques,
            modified_files=self.modified_files(),
            accounts=list(dict.fromkeys(account.name for account in accounts)),
            activity_id=self.activity_id,
        )

    def _message(self, verdict: Verdict, accounts: Iterable[Account], host: str) -> str:
        actor = self.actor
        named = ", ".join(str(account) for account in accounts)
        said = f"User {show(actor.user)} {verdict.done}"
        if named:
            said += f" ({named})"
        if self.rights:
            said += f": {_some(sorted(self.rights))}"
        elif self.files:
            said += f" in {_some(sorted(self.files))}"
        said += f" on host {show(host)} by running {_short(actor.command)}"
        return said + _where(actor)


def bounded(files: Iterable[bytes]) -> list[bytes]:
    """Return as many of `files` as a finding carries, sorted."""
    kept: list[bytes] = []
    size = 0
    for path in files:
        size += len(path)
        if len(kept) == MAX_FILES or size > MAX_FILES_BYTES:
            break
        kept.append(path)
    return sorted(kept)


def _some(files: list[bytes]) -> str:
    shown = ", ".join(show(path) for path in files[:SHOWN_FILES])
    more = len(files) - SHOWN_FILES
    return f"{shown} and {more} more" if more > 0 else shown


def _short(command: bytes) -> str:
    text = show(command)
    return text if len(text) <= COMMAND_CHARACTERS else f"{text[:COMMAND_CHARACTERS]}…"


def _where(actor: pb.Actor) -> str:
    parts = [show(actor.terminal) or "no terminal"]
    if actor.source_address:
        parts.append(f"from {show(actor.source_address)}")
    if actor.provenance == events.PROVENANCE_DETACHED:
        parts.append("left running after the session")
    if actor.attribution == events.ATTRIBUTION_INFERRED:
        parts.append("inferred from what ran at that time")
    return f" ({', '.join(parts)})"
