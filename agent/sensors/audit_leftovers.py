"""What an agent that was killed leaves in the audit system, and its removal.

An agent that ends in order gives back what it found. One that is killed leaves its rules, and a
wait time of 0, by which they are known as ours when nobody has the daemon's place.
"""

from typing import Final

from agent.sensors.audit_netlink import TASK_NEVER, AuditSocket
from agent.sensors.audit_place import is_auditd
from agent.sensors.audit_rules import EXCLUSIONS, LOCKED, stale

_BACKLOG_LIMIT: Final = 64
_WAIT_TICKS: Final = 15_000
"""What a kernel begins with (at 250 ticks a second: a minute)."""


def tidy() -> str:
    """Remove what a killed agent left; return what was done, as a sentence.

    Nothing is touched while an agent runs, and of a running auditd only rules with our key.

    Raises:
        OSError: not permitted, or a kernel without audit.
    """
    audit = AuditSocket()
    try:
        found = audit.status()
        if found.enabled == LOCKED:
            return "The audit rules are locked until the next boot."
        if found.daemon_pid:
            if not is_auditd(found.daemon_pid):
                return f"Process {found.daemon_pid} is the audit daemon: nothing was touched."
            for rule in stale(audit.rules()):
                audit.delete_rule(rule)
            return "auditd runs: rules with our key are gone, all else is as it was."
        if found.backlog_wait_time:
            return "Nothing was left."
        for rule in (*stale(audit.rules()), *EXCLUSIONS, TASK_NEVER):
            audit.delete_rule(rule)
        audit.set_enabled(0)
        audit.set_backlog(_BACKLOG_LIMIT, _WAIT_TICKS)
    finally:
        audit.close()
    return "What a killed agent had left is gone; audit is off."
