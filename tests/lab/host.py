"""One guest: a real host in QEMU, without KVM, five to fifteen times slower than this machine."""

import contextlib
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.ports import free_port

BOOT_S = 400
"""How long a start may take; half a minute on an idle machine, more where tests run beside it."""
COMMAND_S = 300


class Host:
    """A guest with a kernel of its choice, until closed.

    It reaches 127.0.0.1 of this machine as 10.0.2.2, and nothing else.
    """

    def __init__(self, lab: Path, kernel: str, payload: Path | None = None, name: str = "") -> None:
        """Begin to start it; `until_up` waits."""
        self.kernel, self.name = kernel, name or f"linux{kernel.replace('.', '-')}"
        self._lab, self._port = lab, free_port()
        self._folder = Path(tempfile.mkdtemp(prefix=f"nh-lab-{kernel}-"))
        self._serial = self._folder / "serial.log"
        self._serial.touch()
        disk = self._folder / "disk.qcow2"
        base = ["-b", str(lab / "base.img"), "-F", "raw"]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, str(disk)], check=True)
        append = f"root=/dev/vda rw console=ttyS0 quiet systemd.hostname={self.name}"
        forward = f"hostfwd=tcp:127.0.0.1:{self._port}-:22"
        command = [
            # It ends with the test, however that ends.
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi"),
            *("-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults", "-display", "none"),
            *("-serial", f"file:{self._serial}", "-device", "virtio-rng-pci"),
            *("-kernel", str(lab / f"vmlinuz-{kernel}"), "-initrd", str(lab / f"initrd-{kernel}")),
            *("-append", append),
            *_disk("root", str(disk), "format=qcow2"),
            *("-netdev", f"user,id=n0,{forward}", "-device", "virtio-net-pci,netdev=n0"),
        ]
        if payload is not None:
            command += _disk("payload", str(payload), "format=raw,snapshot=on")
        self._log = (self._folder / "qemu.log").open("wb")
        self.began = time.monotonic()
        # In a group of its own: Ctrl-C is for the test, which then stops its guests in order.
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def until_up(self) -> "Host":
        """Wait until it lets root in."""
        while True:
            assert self._process.poll() is None, self._said("qemu.log")
            assert time.monotonic() - self.began < BOOT_S, f"no answer: {self._said('serial.log')}"
            assert "(initramfs)" not in self._said("serial.log"), self._said("serial.log")
            with contextlib.suppress(subprocess.TimeoutExpired):
                if not self._ssh("root", "true", limit_s=60).returncode:
                    break
            time.sleep(1)
        self.run(
            "until systemctl is-system-running | grep -qE 'running|degraded'; do sleep 1; done"
        )
        print(f"{self.name}: up after {time.monotonic() - self.began:.0f} s")
        return self

    def _said(self, log: str) -> str:
        return (self._folder / log).read_text(errors="replace")[-1500:]

    # -- commands --------------------------------------------------------------------------------

    def run(self, command: str, *, limit_s: float = COMMAND_S, data: bytes = b"") -> str:
        """Run a command as root and return what it printed; fails the test where it fails."""
        done = self._ssh("root", command, limit_s=limit_s, data=data)
        said = done.stdout.decode(errors="replace")
        assert done.returncode == 0, (command, done.returncode, said[-3000:], done.stderr[-3000:])
        return said

    def tried(self, command: str, *, limit_s: float = COMMAND_S) -> tuple[int, str]:
        """Run a command as root; return its status and all that it said."""
        done = self._ssh("root", f"{{ {command}\n}} 2>&1", limit_s=limit_s)
        return done.returncode, done.stdout.decode(errors="replace")

    def read(self, command: str) -> bytes:
        """Return the very bytes that a command of root prints."""
        done = self._ssh("root", command, limit_s=COMMAND_S)
        assert done.returncode == 0, (command, done.stderr[-2000:])
        return done.stdout

    def put(self, path: str, content: str | bytes, mode: str = "0644") -> None:
        """Write a file."""
        data = content.encode() if isinstance(content, str) else content
        place = shlex.quote(path)
        self.run(f"install -D -m {mode} /dev/null {place} && cat > {place}", data=data)

    def login(self, user: str, command: str, *, terminal: bool) -> subprocess.CompletedProcess:
        """Log in through sshd as a person does, in a connection and a session of its own."""
        more = ["-tt" if terminal else "-T", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
        return self._ssh(user, command, limit_s=COMMAND_S, more=more)

    def _ssh(
        self,
        user: str,
        command: str,
        *,
        limit_s: float,
        data: bytes = b"",
        more: list[str] | None = None,
    ) -> subprocess.CompletedProcess:
        # Root's commands share a connection: its handshake costs a guest seconds.
        control = self._folder / "ssh"
        options = [
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", f"ConnectTimeout={BOOT_S}", "-i", str(self._lab / "key"), "-F", "none"),
            *(
                more
                or [
                    "-o",
                    "ControlMaster=auto",
                    "-o",
                    f"ControlPath={control}",
                    "-o",
                    "ControlPersist=yes",
                ]
            ),
        ]
        ssh = ["ssh", *options, "-p", str(self._port), f"{user}@127.0.0.1", command]
        return subprocess.run(ssh, input=data, capture_output=True, check=False, timeout=limit_s)

    # -- its end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Switch it off and remove its disk; a second time does nothing."""
        if self._log.closed:
            return
        control = self._folder / "ssh"
        if control.exists():
            end = [
                "ssh",
                "-F",
                "none",
                "-O",
                "exit",
                "-o",
                f"ControlPath={control}",
                "root@127.0.0.1",
            ]
            subprocess.run(end, capture_output=True, check=False)
        self._process.kill()
        self._process.wait()
        self._log.close()
        shutil.rmtree(self._folder)


def _disk(name: str, file: str, options: str) -> list[str]:
    """Return the options for one disk; the first one is /dev/vda."""
    drive = f"file={file},if=none,id={name},cache=unsafe,{options}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]
