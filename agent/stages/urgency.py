"""What cannot wait for a full batch."""

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


def is_urgent(image: events.Image) -> bool:
    """Whether the start of `image` should be sealed at once."""
    return (
        image.provenance in _PEOPLE
        or (image.script or image.executable).rpartition(b"/")[2] in _PROGRAMS
    )
