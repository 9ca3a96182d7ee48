"""`python confined.py CALLS FAMILIES COMMAND…`: COMMAND with these system calls and sockets only.

As systemd does for SystemCallFilter and RestrictAddressFamilies: everything else fails with EPERM.
"""

import ctypes
import errno
import os
import socket
import sys

ALLOW, EQUAL = 0x7FFF0000, 4
REFUSE = 0x00050000 | errno.EPERM


class Argument(ctypes.Structure):
    _fields_ = [
        ("place", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
    ]


def confine(calls: list[str], families: list[str]) -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
    ]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    rules = library.seccomp_init(REFUSE)
    for name in calls:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # of another machine
            continue
        if name != "socket":
            library.seccomp_rule_add_array(rules, ALLOW, number, 0, None)
            continue
        for family in families:
            only = Argument(0, EQUAL, getattr(socket, family), 0)
            library.seccomp_rule_add_array(rules, ALLOW, number, 1, ctypes.byref(only))
    if status := library.seccomp_load(rules):
        raise OSError(-status, os.strerror(-status))


if __name__ == "__main__":
    confine(sys.argv[1].split(","), sys.argv[2].split(","))
    os.execv(sys.argv[3], sys.argv[3:])
