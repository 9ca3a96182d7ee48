"""A person's session without a network: a process takes a login uid, as pam_loginuid does."""

import subprocess
import sys

UID = 4242

_SESSION = """
import os, pty, sys
user, terminal, script = int(sys.argv[1]), sys.argv[2] == "terminal", sys.argv[3]
with open("/proc/self/loginuid", "w") as file:
    file.write(str(user))
pid, screen = pty.fork() if terminal else (os.fork(), -1)
if pid == 0:
    os.execv("/bin/sh", ["/bin/sh", "-c", script])
try:
    while terminal and os.read(screen, 4096):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def session(
    script: str, *, terminal: bool = True, user_id: int = UID, **options
) -> subprocess.Popen:
    """Run `script` in a session of its own; the session ends with the process returned."""
    kind = "terminal" if terminal else "none"
    command = [sys.executable, "-c", _SESSION, str(user_id), kind, script]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
