"""What cannot wait for a full batch."""

from functools import lru_cache

from nightherd.event.v1 import event_pb2 as events

_PEOPLE = frozenset({events.PROVENANCE_INTERACTIVE, events.PROVENANCE_SCRIPTED})
# Tools that change who may do what: seen within a tick whoever runs them.
_PROGRAMS = frozenset(
    b"useradd adduser usermod userdel deluser groupadd addgroup groupmod groupdel delgroup passwd "
    b"chpasswd gpasswd chage newusers chsh chfn vipw vigr visudo sudo su pkexec doas crontab at "
    b"batch systemctl service iptables ip6tables iptables-restore nft ufw firewall-cmd insmod "
    b"modprobe docker podman nerdctl kubectl ssh-keygen setcap chattr reboot shutdown "
    b"poweroff halt".split()
)


def is_urgent(provenance: "events.Provenance.ValueType", program: bytes) -> bool:
    """Whether the start of `program` (the script, or the executable) should be sealed at once."""
    return provenance in _PEOPLE or _matters(program)


@lru_cache(maxsize=4096)
def _matters(program: bytes) -> bool:
    return program.rpartition(b"/")[2] in _PROGRAMS
