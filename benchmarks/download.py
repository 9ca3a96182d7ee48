"""`python -m benchmarks.download CA PORT PASSWORD PATH`: downloads, counts lines, keeps nothing.

Prints lines, bytes and seconds from the question to the end of the answer.
"""

import base64
import socket
import ssl
import sys
import time

BUFFER_BYTES = 256 << 10


def main() -> None:
    """Ask once, over TLS, and count."""
    ca, port, password, path = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    secret = base64.b64encode(f"admin:{password}".encode()).decode()
    plain = socket.create_connection(("localhost", int(port)))
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        buffer, lines, size = bytearray(BUFFER_BYTES), 0, 0
        began = time.perf_counter()
        connection.sendall(f"{head}Authorization: Basic {secret}\r\n\r\n".encode())
        while count := connection.recv_into(buffer):
            if not size and not buffer.startswith(b"HTTP/1.1 200 "):
                sys.exit(buffer[:count].decode(errors="replace"))
            size += count
            # Each chunk's head and end are lines of their own, ended by \r\n: too few to matter.
            lines += buffer.count(b"\n", 0, count)
        print(lines, size, time.perf_counter() - began)


if __name__ == "__main__":
    main()
