"""The kernel's audit interface: its status, its rules, its records, over a netlink socket.

Only what is needed here; libaudit is not on every host, and its Python binding is tied to the
distribution's Python. References: audit(7), include/uapi/linux/audit.h
"""

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

_NETLINK_AUDIT: Final = 9
_GET, _SET, _ADD_RULE, _DELETE_RULE, _LIST_RULES = 1000, 1001, 1011, 1012, 1013
REPLACED: Final = 1329
"""Message type: another daemon wants our place."""
READ_LOG_GROUP: Final = 1

_REQUEST: Final = 0x1
_REQUEST_AND_ACK: Final = 0x1 | 0x4
_ERROR: Final = 2
_DONE: Final = 3
_HEADER = Struct("=IHHII")
_STATUS = Struct("=11I")
_RULE = Struct("=3I64I64I64I64II")
_FORCED_RECEIVE_BUFFER: Final = 33
RECEIVE_BYTES: Final = 8 << 20
_ANSWER_SECONDS: Final = 5.0
_MESSAGE_BYTES: Final = 16384

_LIST_TASK, _NEVER = 1, 0
_ALL_CALLS: Final = (0xFFFFFFFF,) * 64
_NOTHING: Final = (0,) * 64
TASK_NEVER: Final = _RULE.pack(
    _LIST_TASK, _NEVER, 0, *_ALL_CALLS, *_NOTHING, *_NOTHING, *_NOTHING, 0
)
"""No process gets an audit context: system calls cost what they did before audit was enabled."""


@dataclass(frozen=True, slots=True)
class Status:
    """The settings of the kernel's audit system that we read or set."""

    enabled: int
    """0 off, 1 on, 2 on and locked until reboot."""
    daemon_pid: int
    """Process that gets the records; 0 when nobody does. The kernel notices that one died only
    when it has a record for it; we look.
    """
    backlog_limit: int
    lost: int
    """Records dropped in the kernel since boot."""
    backlog_wait_time: int
    """Ticks for which a process is held up when the backlog is full."""
    backlog: int = 0
    """Records that the kernel has still to send."""


def _is_alive(pid: int) -> bool:
    return pid != 0 and Path(f"/proc/{pid}").exists()


class AuditSocket:
    """One audit netlink socket.

    Args:
        groups: READ_LOG_GROUP to get copies of all records.
        receive_bytes: most that may wait here to be received.

    Raises:
        OSError: Not permitted, or a kernel without audit.
    """

    def __init__(self, groups: int = 0, receive_bytes: int = RECEIVE_BYTES) -> None:
        """Open and bind."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_AUDIT)
        try:
            for option in (_FORCED_RECEIVE_BUFFER, socket.SO_RCVBUF):
                try:
                    self._socket.setsockopt(socket.SOL_SOCKET, option, receive_bytes)
                except PermissionError:
                    continue
                break
            self._socket.bind((0, groups))
        except OSError:
            self._socket.close()
            raise
        self._sequence = 0
        self._early: list[tuple[int, bytes]] = []
        """Records that came while we waited for an answer."""

    def _ask(self, kind: int, payload: bytes = b"") -> bytes:
        """Send a request and wait for its acknowledgement; the last answer's payload."""
        self._sequence += 1
        header = _HEADER.pack(
            _HEADER.size + len(payload), kind, _REQUEST_AND_ACK, self._sequence, 0
        )
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.sendto(header + payload, (0, 0))
        answer, acknowledged = b"", False
        while not acknowledged or (kind == _GET and not answer):
            datagram = self._socket.recv(_MESSAGE_BYTES)
            _, got, _, sequence, _ = _HEADER.unpack_from(datagram)
            body = datagram[_HEADER.size :]
            if sequence != self._sequence or got not in (_ERROR, kind):
                self._early.append((got, body))
            elif got == _ERROR:
                if number := -int.from_bytes(body[:4], "little", signed=True):
                    raise OSError(number, os.strerror(number))
                acknowledged = True
            else:
                answer = body
        return answer

    def status(self) -> Status:
        """The settings as they are now."""
        answer = self._ask(_GET)[: _STATUS.size]
        _, enabled, _, pid, _, limit, lost, backlog, _, wait, _ = _STATUS.unpack(
            answer.ljust(_STATUS.size, b"\0")
        )
        return Status(enabled, pid if _is_alive(pid) else 0, limit, lost, wait, backlog)

    def _set(self, bit: int, index: int, value: int) -> None:
        words = [bit, *(0,) * 10]
        words[index] = value
        self._ask(_SET, _STATUS.pack(*words))

    def set_enabled(self, enabled: int) -> None:
        """Switch audit on (1) or off (0)."""
        self._set(0x1, 1, enabled)

    def set_daemon(self, pid: int) -> None:
        """Get the records on this socket; 0 gives the place back.

        Raises:
            FileExistsError: Another process has the place.
        """
        self._set(0x4, 3, pid)

    def set_backlog(self, limit: int, wait_time: int) -> None:
        """How many records may wait, and how long processes are held up when they are too many."""
        self._set(0x10, 5, limit)
        self._set(0x20, 9, wait_time)

    def add_rule(self, rule: bytes) -> bool:
        """Add a rule. False when it was there already."""
        try:
            self._ask(_ADD_RULE, rule)
        except FileExistsError:
            return False
        return True

    def delete_rule(self, rule: bytes) -> None:
        """Remove a rule; none to remove is as well."""
        try:
            self._ask(_DELETE_RULE, rule)
        except FileNotFoundError:
            return

    def rules(self) -> list[bytes]:
        """Every rule there is, as the kernel has it."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size, _LIST_RULES, _REQUEST, self._sequence, 0)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.sendto(header, (0, 0))
        rules: list[bytes] = []
        while True:
            datagram = self._socket.recv(_MESSAGE_BYTES)
            _, kind, _, sequence, _ = _HEADER.unpack_from(datagram)
            body = datagram[_HEADER.size :]
            if sequence != self._sequence or kind not in (_ERROR, _DONE, _LIST_RULES):
                self._early.append((kind, body))
            elif kind == _DONE:
                return rules
            elif kind == _ERROR:
                if number := -int.from_bytes(body[:4], "little", signed=True):
                    raise OSError(number, os.strerror(number))
            else:
                # Messages are padded; the text at the end of a rule says how long it is.
                text_bytes = int.from_bytes(body[_RULE.size - 4 : _RULE.size], "little")
                rules.append(body[: _RULE.size + text_bytes])

    def receive(self) -> tuple[list[tuple[int, bytes]], int]:
        """Records that wait (type and text), and how often the socket's buffer overflowed."""
        records, self._early = self._early, []
        overflows = 0
        self._socket.setblocking(False)  # noqa: FBT003 - the library's signature
        while True:
            try:
                datagram = self._socket.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return records, overflows
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                overflows += 1
                continue
            # Its length field is wrong in unicast (header not counted): go by the datagram's.
            records.append((_HEADER.unpack_from(datagram)[1], datagram[_HEADER.size :]))

    def close(self) -> None:
        """Close. Safe to call twice."""
        self._socket.close()
