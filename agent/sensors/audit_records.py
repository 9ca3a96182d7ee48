"""One audit record's text into a typed record. Never raises, whatever the bytes.

A record is `audit(1364481363.243:24287): key=value key="value" key=HEX msg='op=… acct="root" …'`;
`audit_fields` says how the fields are read.

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


def type_name(number: int) -> str:
    """A record type's name."""
    return TYPE_NAMES.get(number, f"UNKNOWN[{number}]")


def parse(number: int, text: bytes) -> AuditRecord:
    """The record in a netlink message (from `audit(` on).

    Without a readable stamp, time and serial are 0.
    """
    text = text.rstrip(b"\0\n ")
    stamp = _STAMP.match(text)
    if stamp is None:
        return AuditRecord(type_name(number), 0, 0, text)
    seconds, milliseconds, serial = stamp.groups()
    return AuditRecord(
        type_name(number),
        int(seconds) * 1_000_000_000 + int(milliseconds) * 1_000_000,
        int(serial),
        text[stamp.end() :],
    )
