"""A real sshd on 127.0.0.1, with a configuration of its own and one key that may log in."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.ports import free_port
from tests.system.running import wait

OPTIONS = [
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
]


def installed() -> bool:
    """Whether sshd and ssh are here; root of a Debian gets them by apt."""
    if _there():
        return True
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "openssh-server"]
        subprocess.run(install, env=quiet, capture_output=True, check=False, timeout=300)
    return _there()


def _there() -> bool:
    return bool(Path("/usr/sbin/sshd").exists() and shutil.which("ssh"))


class Sshd:
    """Runs until closed; logs in whoever has `key`."""

    def __init__(self, folder: Path, user: str) -> None:
        folder.mkdir(mode=0o755)
        self.port, self.user, self.key = free_port(), user, folder / "key"
        for name in ("key", "host_key"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(make, check=True)
        authorized = folder / "authorized_keys"
        authorized.write_text((folder / "key.pub").read_text())
        configuration = folder / "sshd_config"
        configuration.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host_key'}\n"
            f"AuthorizedKeysFile {authorized}\nStrictModes no\nUsePAM yes\nPermitRootLogin yes\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\n"
            f"PidFile {folder / 'pid'}\nLogLevel VERBOSE\n"
        )
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._log = folder / "log"
        command = ["/usr/sbin/sshd", "-D", "-f", str(configuration), "-E", str(self._log)]
        self._process = subprocess.Popen(command)
        wait(lambda: "Server listening" in self._said())

    def _said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def run(self, command: str, *, terminal: bool) -> None:
        """Log in and run one command, with `ssh -tt` or without a terminal."""
        ssh = ["ssh", *(["-tt"] if terminal else ["-T"]), "-p", str(self.port), *OPTIONS]
        ssh += ["-i", str(self.key), f"{self.user}@127.0.0.1", command]
        done = subprocess.run(
            ssh, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, (done, self._said())

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)
