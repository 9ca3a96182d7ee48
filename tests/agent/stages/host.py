"""A host of synthetic kernel records: fork, exec, exit as the sensors would tell them."""

from pathlib import Path

from agent.names import UserNames
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages.fold import Made
from agent.stages.identify import Identifier
from agent.stages.seal import Collector
from evidence.lineage import Lineage
from nightherd.event.v1 import event_pb2 as events
from tests.builders import BOOT, an_event

MS = 1_000_000


class Host:
    """PID 1 and what the test starts; time goes on by a millisecond a step."""

    def __init__(self, passwd: Path) -> None:
        passwd.write_text("root:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\n")
        self.identifier = Identifier(BOOT, UserNames(passwd))
        self.now = 1_000_000 * MS
        self._next_pid = 100
        self._known: dict[int, dict] = {}
        self.identifier.begin_tick(0, self.now)
        self._known[1] = self._values(1, 0)
        self.identifier.snapshot(
            [self._record("snapshot", 1, executable=b"/sbin/init", arguments=(b"init",))]
        )

    def _values(self, pid: int, ppid: int) -> dict:
        return {
            "start_ns": self.now,
            "ppid": ppid,
            "session_leader": pid,
            "login_user_id": UNSET_ID,
            "session_id": UNSET_ID,
            "terminal": "",
            "cgroup": "",
            "user_id": 0,
        }

    def _record(self, kind: str, pid: int, **fields) -> ProcessRecord:
        self.now += MS
        values = {
            "kind": kind,
            "boot_ns": self.now,
            "pid": pid,
            "exit_status": 0,
            "requested_path": fields.get("executable", b""),
            "executable": b"",
            "arguments": (),
            "arguments_cut": False,
            "working_directory": b"/root",
            "exact": True,
        }
        values |= self._known[pid]
        values.setdefault("effective_user_id", values["user_id"])
        values |= fields
        return ProcessRecord(**values)

    def set(self, pid: int, **kernel) -> None:
        """Change what the kernel has for a process (loginuid, terminal, session leader …)."""
        self._known[pid] |= kernel

    def login(self, pid: int, session_id: int, login_user_id: int = 1001) -> None:
        self.set(pid, login_user_id=login_user_id, session_id=session_id)

    def fork(self, parent: int, **kernel) -> int:
        self._next_pid += 1
        pid = self._next_pid
        self._known[pid] = {**self._known[parent], "start_ns": self.now, "ppid": parent, **kernel}
        self.identifier.fork(self._record("fork", pid))
        return pid

    def exec(self, pid: int, path: str, *arguments: str, requested: str = "") -> events.Image:
        self.identifier.begin_tick(0, self.now)
        record = self._record(
            "exec",
            pid,
            executable=path.encode(),
            requested_path=(requested or path).encode(),
            arguments=(path.encode(), *(a.encode() for a in arguments)),
        )
        return self.identifier.exec(record).image

    def run(self, parent: int, path: str, *arguments: str, **kernel) -> tuple[int, events.Image]:
        """Fork and exec."""
        pid = self.fork(parent, **kernel)
        return pid, self.exec(pid, path, *arguments)

    def exit(self, pid: int) -> None:
        self.identifier.exit(self._record("exit", pid))
        for other in self._known.values():
            if other["ppid"] == pid:
                other["ppid"] = 1

    def image(self, pid: int) -> events.Image:
        """As it would be put on an event now."""
        self.identifier.begin_tick(0, self.now)
        process = self.identifier.processes.who(pid)
        assert process is not None
        return self.identifier.images.refresh(process, self.now).image

    def above(self, pid: int) -> list[bytes]:
        """The executables above it, nearest first, as a reader of its batch has them."""
        process = self.identifier.processes.who(pid)
        assert process is not None
        collector = Collector()
        collector.add(Made(process.ran, an_event(None)), 0)
        body = events.EventBatch.FromString(collector.take().raw)
        return [each.executable for each in Lineage(body).above(body.images[0])]

    def daemon(self, path: str, *arguments: str) -> int:
        """A daemon that PID 1 started in a POSIX session of its own."""
        pid = self.fork(1)
        self.set(pid, session_leader=pid)
        self.exec(pid, path, *arguments)
        return pid

    def sshd(self, *, terminal: str = "pts/1", session_id: int = 7) -> tuple[int, int]:
        """A person logged in by ssh: (monitor of the session, its shell)."""
        listener = self.daemon("/usr/sbin/sshd")
        monitor = self.fork(listener)
        self.exec(monitor, "/usr/sbin/sshd", "-R")
        self.login(monitor, session_id)
        user = self.fork(monitor)
        shell = self.fork(user)
        self.set(shell, terminal=terminal, session_leader=shell, user_id=1001)
        self.exec(shell, "/bin/bash")
        return monitor, shell
