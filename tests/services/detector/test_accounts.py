"""The account on a command line is the right one, or none."""

import pytest

from services.detector.domain.accounts import Account, of_command, told


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("useradd bob", "added bob"),
        ("useradd -m bob", "added bob"),
        ("/sbin/useradd -d /home/bob -g bob -s /bin/bash -u 1002 bob", "added bob"),
        ("useradd bob -m -G sudo,docker", "added bob"),
        ("useradd --comment Bob --shell /bin/sh bob", "added bob"),
        ("useradd -c Bob -m -k /etc/skel -o -u 0 bob", "added bob"),
        ("useradd -M -r -N svc$", "added svc$"),
        ("useradd -- bob", "added bob"),
        ("usermod -aG sudo bob", "changed bob"),
        ("usermod -a -G sudo bob", "changed bob"),
        ("usermod -L bob", "changed bob"),
        ("usermod -l new old", "changed old"),
        ("userdel -r bob", "removed bob"),
        ("userdel -f bob", "removed bob"),
        ("passwd bob", "changed bob"),
        ("passwd -d bob", "changed bob"),
        ("passwd -e bob", "changed bob"),
        ("chage -M 90 bob", "changed bob"),
        ("chage -E 0 bob", "changed bob"),
        ("groupadd -g 1002 bob", "added group bob"),
        ("groupadd -f bob", "added group bob"),
        ("gpasswd -a bob sudo", "changed group sudo"),
        ("adduser bob", "added bob"),
        ("adduser --disabled-password --gecos Bob bob", "added bob"),
        ("adduser --system --home /var/x --no-create-home --ingroup nogroup svc", "added svc"),
        ("adduser bob sudo", "changed bob"),
        ("deluser --remove-home bob", "removed bob"),
        ("chsh -s /bin/sh bob", "changed bob"),
        ("useradd", ""),
        ("useradd -D", ""),
        ("passwd", ""),
        ("useradd ../../x", ""),
        ("ls bob", ""),
    ],
)
def test_the_account_of_a_command_line(command, said):
    arguments = tuple(command.encode().split())
    tool = arguments[0].rpartition(b"/")[2]
    found = of_command(b"/usr/sbin/" + tool, b"", arguments)
    assert ", ".join(map(str, found)) == said


def test_a_script_s_account_is_behind_the_script():
    arguments = (b"/usr/bin/perl", b"-T", b"/usr/sbin/adduser", b"--quiet", b"bob")
    assert of_command(b"/usr/bin/perl", b"/usr/sbin/adduser", arguments) == (
        Account("bob", "added", group=False),
    )


def test_an_impostor_elsewhere_names_nobody():
    assert of_command(b"/tmp/useradd", b"", (b"useradd", b"bob")) == ()


def test_what_goes_without_saying_is_not_told():
    found = {
        Account("bob", "added", group=False),
        Account("bob", "added", group=True),
        Account("bob", "changed", group=False),
        Account("sudo", "changed", group=True),
    }
    assert [str(a) for a in told(found)] == ["added bob", "changed group sudo"]
