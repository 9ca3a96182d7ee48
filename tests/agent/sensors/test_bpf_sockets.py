"""UDP, raw and unix sockets, as the kernel's checkpoints see them."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from nightherd.event.v1 import event_pb2 as events

pytestmark = pytest.mark.kernel
QUERY = bytes.fromhex("123401000001000000000000") + b"%b\0\0\1\0\1"
SEND = """
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("::1" if ":" in sys.argv[1] else "127.0.0.1", 0))
for payload in sys.argv[3:]:
    s.sendto(bytes.fromhex(payload), (sys.argv[1], int(sys.argv[2])))
"""


def query(name):
    return (QUERY % b"".join(bytes([len(each)]) + each for each in name.split(b"."))).hex()


def sends(host):
    if "on_udp" in host.bpf.refused:
        host.needs("on_packet")


def udp(told):
    return [
        event.connect
        for _, event in told
        if event.HasField("connect") and event.connect.protocol == events.PROTOCOL_UDP
    ]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_first_datagram_to_a_destination_is_told_and_no_other(host, address):
    sends(host)
    code = SEND if "ffff" not in address else SEND.replace('"::1" if', '"::" if')
    pid = host.do(code, address, 4711, "00", "00", "00")
    (connect,) = udp(host.all("connect", pid))
    assert (connect.remote_address, connect.remote_port) == (address.removeprefix("::ffff:"), 4711)
    assert connect.local_port > 0
    ((_, event),) = host.of("connect", pid)
    assert event.attribution == events.ATTRIBUTION_EXACT
    again = host.do(code, address, 4711, "00")
    assert len(udp(host.all("connect", again))) == 1


def test_a_connected_socket_is_told_with_its_first_datagram(host):
    sends(host)
    code = """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("127.0.0.1", 4712))
try:
    s.send(b"a")
    s.send(b"b")
except ConnectionRefusedError:
    pass
"""
    (connect,) = udp(host.all("connect", host.do(code)))
    assert (connect.remote_address, connect.remote_port) == ("127.0.0.1", 4712)


def test_names_that_are_looked_up_are_told_once_for_a_second(host):
    sends(host)
    names = [query(b"one.example"), query(b"two.example"), query(b"one.example")]
    pid = host.do(SEND, "127.0.0.1", 53, *names)
    (connect,) = udp(host.all("connect", pid))
    assert list(connect.dns_names) == ["one.example", "two.example"]
    assert connect.remote_port == 53


def test_many_names_are_told_in_several_events(host):
    sends(host)
    pid = host.do(SEND, "127.0.0.1", 53, *(query(b"n%d.example" % n) for n in range(40)))
    told = udp(host.all("connect", pid))
    assert {name for each in told for name in each.dns_names} == {
        f"n{n}.example" for n in range(40)
    }
    assert all(len(each.dns_names) <= 16 for each in told)


def test_what_is_no_query_has_no_names(host):
    sends(host)
    pid = host.do(SEND, "127.0.0.1", 53, "ff" * 30, "00", "")
    told = udp(host.all("connect", pid))
    assert told
    assert not [name for each in told for name in each.dns_names]


@pytest.mark.parametrize(("family", "address"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")])
def test_a_udp_port_that_is_opened_is_told_at_once(host, family, address):
    host.needs("on_bind", "on_bind6")
    code = """
import socket
s = socket.socket(getattr(socket, sys.argv[1]), socket.SOCK_DGRAM)
s.bind((sys.argv[2], 47110))
t = socket.socket(getattr(socket, sys.argv[1]), socket.SOCK_DGRAM)
t.bind((sys.argv[2], 0))
"""
    told = [event.listen for _, event in host.all("listen", host.do(code, family, address))]
    assert [(each.protocol, each.local_address, each.local_port) for each in told] == [
        (events.PROTOCOL_UDP, address, 47110)
    ]
    assert (address, 47110) in host.bpf.bound


@pytest.mark.parametrize(
    ("make", "family", "protocol"),
    [
        ("AF_INET, socket.SOCK_RAW, 1", events.RawSocket.FAMILY_INET, 1),
        ("AF_INET6, socket.SOCK_RAW, 58", events.RawSocket.FAMILY_INET6, 58),
        (
            "AF_PACKET, socket.SOCK_RAW, socket.htons(0x806)",
            events.RawSocket.FAMILY_PACKET,
            0x806,
        ),
        ("AF_PACKET, socket.SOCK_DGRAM, 0", events.RawSocket.FAMILY_PACKET, 0),
    ],
)
def test_raw_and_packet_sockets_are_told(host, make, family, protocol):
    host.needs("on_raw_socket")
    _, event = host.first("raw_socket", host.do(f"socket.socket(socket.{make})"))
    assert (event.raw_socket.family, event.raw_socket.protocol_number) == (family, protocol)


def test_other_sockets_are_not_told_as_raw(host):
    code = "socket.socket(); socket.socket(socket.AF_UNIX); socket.socket(2, 2)"
    assert host.all("raw_socket", host.do(code)) == []


def test_connecting_to_a_watched_unix_socket_is_told_however_it_is_reached(host, folder):
    host.needs("on_unix_connect")
    run = Path("/run/user/65530")
    path, link = run / "podman" / "podman.sock", folder / "link"
    path.parent.mkdir(parents=True)
    link.symlink_to(path)
    code = "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])"
    try:
        with socket.socket(socket.AF_UNIX) as watched, socket.socket(socket.AF_UNIX) as other:
            watched.bind(os.fsencode(path))
            watched.listen()
            (folder / "podman").mkdir()
            elsewhere = folder / "podman" / "podman.sock"
            other.bind(os.fsencode(elsewhere))
            other.listen()
            pid, unwatched = host.do(code, link), host.do(code, elsewhere)
        _, event = host.first("connect", pid)
        assert host.all("connect", unwatched) == []
    finally:
        shutil.rmtree(run)
    assert event.connect.protocol == events.PROTOCOL_UNIX
    assert event.connect.path == os.fsencode(path)
