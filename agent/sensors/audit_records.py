"""One audit record's text into a typed record. Never raises, whatever the bytes.

A record is `audit(1364481363.243:24287): key=value key="value" key=HEX msg='op=… acct="root" …'`.
User-space messages wrap their own fields in msg='…'; those count as the record's fields too. Some
values have spaces (op=adding user). A string the kernel does not trust is "quoted", or hexadecimal
when it has a quote, a space or a byte outside ASCII in it. auditd's enriched logs append names
after 0x1D (AUID="alice").

References: audit_logging and auparse of https://github.com/linux-audit/audit-userspace
"""

import re
from typing import Final

from agent.sensors.records import AuditRecord

TYPE_NAMES: Final = {
    1005: "USER",
    1006: "LOGIN",
    1100: "USER_AUTH",
    1101: "USER_ACCT",
    1102: "USER_MGMT",
    1103: "CRED_ACQ",
    1104: "CRED_DISP",
    1105: "USER_START",
    1106: "USER_END",
    1107: "USER_AVC",
    1108: "USER_CHAUTHTOK",
    1109: "USER_ERR",
    1110: "CRED_REFR",
    1111: "USYS_CONFIG",
    1112: "USER_LOGIN",
    1113: "USER_LOGOUT",
    1114: "ADD_USER",
    1115: "DEL_USER",
    1116: "ADD_GROUP",
    1117: "DEL_GROUP",
    1118: "DAC_CHECK",
    1119: "CHGRP_ID",
    1120: "TEST",
    1121: "TRUSTED_APP",
    1122: "USER_SELINUX_ERR",
    1123: "USER_CMD",
    1124: "USER_TTY",
    1125: "CHUSER_ID",
    1126: "GRP_AUTH",
    1127: "SYSTEM_BOOT",
    1128: "SYSTEM_SHUTDOWN",
    1129: "SYSTEM_RUNLEVEL",
    1130: "SERVICE_START",
    1131: "SERVICE_STOP",
    1132: "GRP_MGMT",
    1133: "GRP_CHAUTHTOK",
    1134: "MAC_CHECK",
    1135: "ACCT_LOCK",
    1136: "ACCT_UNLOCK",
    1137: "USER_DEVICE",
    1138: "SOFTWARE_UPDATE",
    1300: "SYSCALL",
    1302: "PATH",
    1305: "CONFIG_CHANGE",
    1306: "SOCKADDR",
    1307: "CWD",
    1309: "EXECVE",
    1320: "EOE",
    1325: "NETFILTER_CFG",
    1326: "SECCOMP",
    1327: "PROCTITLE",
    1330: "KERN_MODULE",
    1332: "TIME_INJOFFSET",
    1333: "TIME_ADJNTPVAL",
    1334: "BPF",
    1335: "EVENT_LISTENER",
    1701: "ANOM_ABEND",
    2000: "KERNEL",
    2100: "ANOM_LOGIN_FAILURES",
    2404: "CRYPTO_KEY_USER",
    2407: "CRYPTO_SESSION",
}
"""Names as ausearch prints them. Others are named UNKNOWN[1234], as it does."""

_STAMP = re.compile(rb"audit\((\d{1,12})\.(\d{3}):(\d{1,20})\):? ?")
_FIELD = re.compile(rb"""([A-Za-z_][\w\[\]-]*)=("[^"]*"|'[^']*'|\S*(?: (?![\w-]+=)\S+)*)""")
_MESSAGE = re.compile(rb"(?:^| )msg='(.*?)'?\s*(?:\x1d|$)", re.DOTALL)
_HEX = re.compile(rb"(?:[0-9A-F]{2})+")
_UNTRUSTED: Final = frozenset(
    (
        "acct",
        "cmd",
        "comm",
        "cwd",
        "data",
        "dir",
        "exe",
        "file",
        "grp",
        "id_name",
        "invalid_context",
        "key",
        "name",
        "new_group",
        "path",
        "proctitle",
        "sw",
        "unit",
        "vm",
        "watch",
    )
)
"""Fields the format writes in hexadecimal when their text needs it."""


def type_name(number: int) -> str:
    """A record type's name."""
    return TYPE_NAMES.get(number, f"UNKNOWN[{number}]")


def _value(name: str, raw: bytes) -> bytes:
    if raw[:1] in (b'"', b"'"):
        return raw[1:-1] if len(raw) > 1 and raw[-1:] == raw[:1] else raw[1:]
    if name in _UNTRUSTED and _HEX.fullmatch(raw):
        return bytes.fromhex(raw.decode("ascii"))
    if raw in (b"?", b"(null)", b"(none)"):
        return b""
    return raw


def _read(text: bytes, fields: dict[str, bytes]) -> None:
    for match in _FIELD.finditer(text):
        name = match[1].decode("ascii", "replace")
        if name not in fields:
            fields[name] = _value(name, match[2])


def parse(number: int, text: bytes) -> AuditRecord:
    """The record in a netlink message or a log line (from `audit(` on).

    Without a readable stamp, time and serial are 0. What is no field is dropped, so a broken record
    has few fields or none. Of a field given twice the first counts; a message's own fields come
    after those the kernel wrote, which it cannot overrule.
    """
    text = text.rstrip(b"\0\n ")
    wall_ns = serial = 0
    stamp = _STAMP.match(text)
    if stamp:
        wall_ns = int(stamp[1]) * 1_000_000_000 + int(stamp[2]) * 1_000_000
        serial = int(stamp[3])
        text = text[stamp.end() :]
    fields: dict[str, bytes] = {}
    message = _MESSAGE.search(text)
    if message:
        _read(text[: message.start()], fields)
        _read(message[1], fields)
        _read(text[message.end() :], fields)
    else:
        _read(text, fields)
    return AuditRecord(kind=type_name(number), wall_ns=wall_ns, serial=serial, fields=fields)
