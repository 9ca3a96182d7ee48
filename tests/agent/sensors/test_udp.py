import os
import socket

import pytest

from agent.sensors import udp
from agent.sensors.records import SocketRecord
from agent.sensors.udp import UdpSensor, bound


def inode(sock):
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.9"), (socket.AF_INET6, "::1")]
)
def test_a_bound_socket_is_found_with_its_address(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            pytest.skip("no IPv6 here")
        assert bound()[inode(sock)] == (address, sock.getsockname()[1])
        assert udp.owners_of({inode(sock)}) == {inode(sock): os.getpid()}
        sock.connect((address, 9))
        assert inode(sock) not in bound()


def test_a_socket_that_stays_is_told_and_one_that_goes_is_not():
    sensor = UdpSensor(every_ns=0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as short:
        short.bind(("127.0.0.1", 0))
        gone = short.getsockname()[1]
        first = sensor.drain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        port = sock.getsockname()[1]
        records = first + sensor.drain() + sensor.drain() + sensor.drain()
    mine = [each for each in records if each.pid == os.getpid()]
    assert mine == [
        SocketRecord(
            "listen", mine[0].boot_ns, os.getpid(), "udp", "0.0.0.0", port, "", 0, exact=False
        )
    ]
    assert gone not in {each.local_port for each in records}


def test_a_socket_of_which_another_sensor_told_is_not_told_twice():
    told = set()
    sensor = UdpSensor(every_ns=0, told=lambda: told)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.8", 0))
        told.add(("127.0.0.8", sock.getsockname()[1]))
        records = sensor.drain() + sensor.drain() + sensor.drain()
    assert [each for each in records if each.local_address == "127.0.0.8"] == []
