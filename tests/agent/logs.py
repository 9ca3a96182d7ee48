"""Audit logs for tests: lines in, events out."""

import uuid
from dataclasses import dataclass

from agent.audit_import import AuditImport
from agent.auditd_log import AuditdLog
from evidence.lineage import Lineage
from nightherd.event.v1 import event_pb2 as events


@dataclass
class Imported:
    """What became of a log."""

    batches: list[events.EventBatch]
    boot_ids: list[str]
    reading: AuditdLog
    making: AuditImport
    rejects: list[str]

    @property
    def events(self):
        return [event for batch in self.batches for event in batch.events]

    def told(self, kind):
        """Facts of a kind, each with the image of who did it (None: nobody)."""
        return [
            (
                getattr(event, kind),
                batch.images[event.actor] if event.HasField("actor") else None,
                event,
            )
            for batch in self.batches
            for event in batch.events
            if event.WhichOneof("kind") == kind
        ]

    def above(self, image):
        """The executables above an image, nearest first."""
        batch = next(b for b in self.batches if image in b.images)
        return [each.executable for each in Lineage(batch).above(image)]

    def assert_nothing_vanished(self):
        unused = sum(self.making.unused.values())
        assert self.reading.lines == self.making.used + unused + self.reading.rejected
        assert self.reading.rejected == len(self.rejects)
        assert f"{self.reading.lines} records read" in self.making.summary(
            self.reading.lines, self.reading.rejected
        )


def import_files(*paths):
    rejects = []
    reading = AuditdLog(list(paths), rejects.append)
    making = AuditImport(uuid.UUID(int=7))
    parts = list(making.parts(reading))
    batches = [events.EventBatch.FromString(part.body.raw) for part in parts]
    return Imported(batches, [part.boot_id for part in parts], reading, making, rejects)


def import_lines(folder, *lines):
    path = folder / "audit.log"
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines)
    )
    return import_files(path)


def line(kind, serial, text, seconds=1783414661, milliseconds=335):
    return f"type={kind} msg=audit({seconds}.{milliseconds:03d}:{serial}): {text}"


def call(
    serial,
    number=59,
    *,
    pid=100,
    ppid=1,
    auid=4294967295,
    ses=4294967295,
    uid=0,
    tty="(none)",
    exe="/usr/bin/x",
    success="yes",
    a=("0", "0", "0", "0"),
    names="",
    **stamp,
):
    text = (
        f"arch=c000003e syscall={number} success={success} exit=0 a0={a[0]} a1={a[1]} a2={a[2]} a3={a[3]} "
        f"items=2 ppid={ppid} pid={pid} auid={auid} uid={uid} gid=0 euid={uid} suid=0 fsuid=0 egid=0 "
        f'sgid=0 fsgid=0 tty={tty} ses={ses} comm="x" exe="{exe}" key=(null){names}'
    )
    return line("SYSCALL", serial, text, **stamp)


def executed(serial, *arguments, cwd="/root", **who):
    stamp = {name: who[name] for name in ("seconds", "milliseconds") if name in who}
    words = " ".join(f'a{place}="{each}"' for place, each in enumerate(arguments))
    return [
        call(serial, 59, **who),
        line("EXECVE", serial, f"argc={len(arguments)} {words}", **stamp),
        line("CWD", serial, f'cwd="{cwd}"', **stamp),
        line(
            "PATH",
            serial,
            f'item=0 name="{arguments[0]}" inode=1 dev=fc:00 mode=0100755 nametype=NORMAL',
            **stamp,
        ),
        line("PROCTITLE", serial, "proctitle=7878", **stamp),
    ]


def user(kind, serial, pid, text, *, auid=1001, ses=3, **stamp):
    return line(kind, serial, f"pid={pid} uid=0 auid={auid} ses={ses} msg='{text}'", **stamp)


def an_ssh_login(serial=10, pid=500, ses=3, **stamp):
    sshd = 'exe="/usr/sbin/sshd" hostname=192.0.2.7 addr=192.0.2.7 terminal=ssh res=success'
    unset = 4294967295
    return [
        user(
            "USER_ACCT",
            serial,
            pid,
            f'op=PAM:accounting acct="alice" {sshd}',
            auid=unset,
            ses=unset,
            **stamp,
        ),
        line(
            "LOGIN",
            serial + 1,
            f"pid={pid} uid=0 old-auid={unset} auid=1001 tty=(none) old-ses={unset} ses={ses} res=1",
            **stamp,
        ),
        user(
            "USER_START",
            serial + 2,
            pid,
            f'op=PAM:session_open acct="alice" {sshd}',
            ses=ses,
            **stamp,
        ),
        user(
            "USER_LOGIN",
            serial + 3,
            pid,
            'op=login id=1001 exe="/usr/sbin/sshd" hostname=? addr=192.0.2.7 terminal=/dev/pts/1 res=success',
            ses=ses,
            **stamp,
        ),
    ]
