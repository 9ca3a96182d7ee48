"""Audit sessions: who opened each, and what that says about everything inside."""

from dataclasses import dataclass

from nightherd.event.v1 import event_pb2 as events

PERSON, SCHEDULED, USER_MANAGER, UNKNOWN = "person", "scheduled", "user manager", "unknown"

_OPENERS = {
    PERSON: (
        "sshd sshd-session dropbear login in.telnetd rlogind gdm-session-worker lightdm "
        "sddm-helper xdm lxdm-session greetd-worker cockpit-session xrdp-sesman vsftpd"
    ),
    SCHEDULED: "cron crond atd anacron fcron cronie",
    USER_MANAGER: "systemd systemd-executor",
}
_KINDS = {name.encode(): kind for kind, names in _OPENERS.items() for name in names.split()}
_SYSTEM_FOLDERS = (
    b"/usr/sbin/",
    b"/usr/bin/",
    b"/sbin/",
    b"/bin/",
    b"/usr/lib/",
    b"/lib/",
    b"/usr/libexec/",
    b"/usr/local/sbin/",
    b"/usr/local/bin/",
)


def kind_of_opener(executable: bytes) -> str:
    """Return what kind of session a program opens.

    The name counts only in a system's program folders: /tmp/cron must not make its doings look
    scheduled.
    """
    if not executable.startswith(_SYSTEM_FOLDERS):
        return UNKNOWN
    return _KINDS.get(executable.rpartition(b"/")[2], UNKNOWN)


LEFT_BEHIND_NS = 1_000_000_000
"""What outlives its session by no more than this is part of its end, not left behind."""


@dataclass(slots=True)
class Session:
    """One audit session. Its kind never changes; terminal and address may become known late."""

    session_id: int
    login_user_id: int
    opener: bytes
    kind: str
    leader_pid: int
    """Process whose end is the session's end; 0 when not known."""
    began_ns: int
    terminal: str = ""
    source_address: str = ""
    over: bool = False
    over_ns: int = 0
    """When it ended (boot clock)."""
    preexisting: bool = False
    address_looks: int = 0
    """How often its programs were asked where it came from."""
    announced: bool = False
    """Whether its begin was told."""

    @property
    def awaits_address(self) -> bool:
        """Whether it came over the network, and from where is not known yet."""
        name = self.opener.rpartition(b"/")[2]
        return name.startswith((b"sshd", b"dropbear")) and not (
            self.source_address or self.over or self.preexisting
        )


def provenance_of(  # noqa: PLR0911  (a table of cases, first match wins)
    session: Session | None,
    terminal: str,
    *,
    user_unit: bool,
    alive_ns: int,
    terminal_is_service: bool = False,
    put_there: bool = False,
) -> "events.Provenance.ValueType":
    """Return the provenance of a process in `session` with `terminal`.

    Args:
        session: the audit session it was started in; None outside any.
        terminal: its controlling terminal, "" for none.
        user_unit: whether it is a unit of a person's systemd manager.
        alive_ns: moment at which it is known to have run (boot clock): that of its execution, or
            of what it did.
        terminal_is_service: whether a terminal of its own says nothing of a person.
        put_there: whether a person's session had a manager start it (at, cron, systemd-run).
    """
    if user_unit:
        return events.PROVENANCE_USER_SERVICE
    if session is None:
        # A terminal without a login: the console, or a shell in a container.
        if terminal and not terminal_is_service:
            return events.PROVENANCE_INTERACTIVE
        return events.PROVENANCE_DETACHED if put_there else events.PROVENANCE_SERVICE
    if session.kind == SCHEDULED:
        return events.PROVENANCE_DETACHED if put_there else events.PROVENANCE_SCHEDULED
    if session.kind == USER_MANAGER:
        # A terminal in a scope: a desktop's terminal window, which the manager started.
        return events.PROVENANCE_INTERACTIVE if terminal else events.PROVENANCE_USER_SERVICE
    if session.over and alive_ns > session.over_ns + LEFT_BEHIND_NS:
        return events.PROVENANCE_DETACHED
    # Unknown openers are taken for a person: the safe side, since it is never learned.
    if terminal or session.terminal:
        return events.PROVENANCE_INTERACTIVE
    return events.PROVENANCE_SCRIPTED
