"""`nightherd verify-heads`: a signed list of chain heads, alone and against the store."""

import sys
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from cli.homes import Home
from cli.rest import Gateway, RestError
from evidence.heads import Head, ListCheck

MOST_LINE_BYTES = 64 << 20
KEY_BYTES = 32
HEADS_AT_ONCE = 100
"""What fits into the address of a question."""


def verify_heads(home: Home, file: Path, key: str, *, offline: bool) -> int:
    """Check a list; 0 intact, 1 broken or rolled back, 2 unreadable, 4 intact but nobody asked."""
    try:
        check = ListCheck(_key(file, key))
        with file.open("rb") as opened:
            while content := opened.readline(MOST_LINE_BYTES):
                if not content.endswith(b"\n"):
                    check.faults.append(f"line {check.lines + 1}: it is torn")
                    break
                check.see(content)
    except (OSError, ValueError) as error:
        print(f"nightherd: {file}: {error}", file=sys.stderr)
        return 2
    print(
        f"{file}: {check.lines} lines, {check.first_time or '-'} to {check.last_time or '-'}, "
        f"{len(check.heads)} chains"
    )
    for fault in check.faults:
        print(f"  {fault}")
    if offline:
        return 1 if check.faults else 0
    try:
        gone = _against_store(Gateway(home), check)
    except RestError as error:
        print(f"nightherd: not compared with the store: {error}", file=sys.stderr)
        return 1 if check.faults else 4
    for text in gone:
        print(f"  {text}")
    if not check.faults and not gone:
        print("the store has all of it")
    return 1 if check.faults or gone else 0


def _key(file: Path, key: str) -> bytes:
    path = Path(key) if key else file.with_name(file.name + ".pub")
    text = path.read_text(encoding="ascii").strip() if not key or path.is_file() else key
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError("--key: 64 hex digits, or a file with them")
    return raw


def _against_store(gateway: Gateway, check: ListCheck) -> list[str]:
    by_host: dict[str, list[Head]] = {}
    for head in check.heads.values():
        by_host.setdefault(head.host, []).append(head)
    wrong = []
    for host, heads in sorted(by_host.items()):
        for start in range(0, len(heads), HEADS_AT_ONCE):
            wrong += _of_host(gateway, host, heads[start : start + HEADS_AT_ONCE])
    return list(dict.fromkeys(wrong))


def _of_host(gateway: Gateway, host: str, heads: list[Head]) -> list[str]:
    said = [f"{head.chain}:{head.number}:{head.hash}" for head in heads]
    try:
        report, _ = gateway.get(f"nightherd/custody/{quote(host, safe='')}", head=said)
    except RestError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return [f"host {host}: rolled back: the store does not know it"]
    return [
        f"host {host} chain {chain['chainID']} batch {fault['batch']}: "
        f"{fault['kind']}: {fault['detail']}"
        for chain in report["chains"]
        for fault in chain["faults"]
    ]
