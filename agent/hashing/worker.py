"""The program that reads files and hashes them: `python -I -S worker.py SOCKET PERCENT`.

A process of its own, so that a file that cannot be read stops nobody, and so that hashing has a
priority of its own. It opens nothing: it reads what it is handed, and needs no rights for that.
Nothing but the standard library is imported: it is small, and works wherever it lies.

A question is (number, size in bytes) with an open file; the answer is (number, status, SHA-256).
While a large file is being read, `READING` says that it goes on.
"""

import hashlib
import os
import socket
import struct
import sys
import time

QUESTION = struct.Struct("<QQ")
ANSWER = struct.Struct("<QB32s")
DONE, CHANGED, UNREADABLE, READING = range(4)
CHUNK_BYTES = 1 << 18
STEP_S = 0.002
"""CPU after which it rests: shorter rests would cost more than they spread."""
SIGN_OF_LIFE_S = 1.0
_NOBODY = 65_534
_CAPABILITY_VERSION = 0x20080522


class Worker:
    """Answers questions until nobody asks any more."""

    def __init__(self, connection: socket.socket, percent: int) -> None:
        """Use at most `percent` of one CPU."""
        self._connection = connection
        self._rest = 100 / percent - 1
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._said = 0.0

    def run(self) -> None:
        """Answer until the other side is gone."""
        while True:
            message, files, _, _ = socket.recv_fds(self._connection, QUESTION.size, 1)
            if not message:
                return
            number, size = QUESTION.unpack(message)
            try:
                status, digest = self._hash(number, files[0], size) if files else (UNREADABLE, b"")
            finally:
                for file in files:
                    os.close(file)
            self._connection.send(ANSWER.pack(number, status, digest))

    def _hash(self, number: int, file: int, size: int) -> tuple[int, bytes]:
        found, left = hashlib.sha256(), size
        self._said = time.monotonic()
        spent = time.thread_time()
        while True:
            try:
                count = os.readv(file, [self._buffer])
            except OSError:
                return UNREADABLE, b""
            left -= count
            if left < 0 or (count == 0 and left):
                return CHANGED, b""
            if count == 0:
                return DONE, found.digest()
            found.update(self._buffer[:count])
            spent = self._pause(number, spent)

    def _pause(self, number: int, spent: float) -> float:
        used = time.thread_time() - spent
        if used < STEP_S:
            return spent
        if time.monotonic() - self._said >= SIGN_OF_LIFE_S:
            self._connection.send(ANSWER.pack(number, READING, b""))
            self._said = time.monotonic()
        time.sleep(used * self._rest)
        return time.thread_time()


def without_rights() -> None:
    """Go on as nobody, or where that is not allowed, without capabilities."""
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except PermissionError:
        import ctypes  # noqa: PLC0415  (a tenth of the memory, and mostly not needed)

        header = struct.pack("<Ii", _CAPABILITY_VERSION, 0)
        ctypes.CDLL(None).capset(header, bytes(24))


def main() -> None:
    """Serve the socket of which the descriptor is the first argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    # Whoever started this sets its priority before it asks, which it may not of nobody's process.
    connection.recv(1, socket.MSG_PEEK)
    without_rights()
    Worker(connection, int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
