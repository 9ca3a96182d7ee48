"""Where a login came from, as sshd tells the programs of the session in SSH_CONNECTION."""

import os

_NAME = b"SSH_CONNECTION="
MOST_BYTES = 64 << 10


def ssh_client_of(pid: int) -> str:
    """Return the address of the ssh client of a living process, or ""."""
    try:
        fd = os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        content = os.read(fd, MOST_BYTES)
    except OSError:
        return ""
    finally:
        os.close(fd)
    return address_in(content)


def address_in(environ: bytes) -> str:
    """Return the client's address in a NUL-separated environment, or ""."""
    for variable in environ.split(b"\0"):
        if variable.startswith(_NAME):
            first = variable.removeprefix(_NAME).split(b" ", 1)[0]
            # The person may have set it to anything.
            return first.decode("ascii", "ignore")[:45] if first.count(b"\n") == 0 else ""
    return ""
