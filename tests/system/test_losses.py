"""What was lost is told, what is secret is not kept, and what is young is seen."""

import os
import secrets
import subprocess
from pathlib import Path

import pytest

from tests.system.database import connected
from tests.system.running import a_name, remove_user, wait

pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's event sources"),
]


def test_a_stopped_agent_under_load_leaves_a_gap_that_is_told(nightherd):
    before = {g["from"] for g in nightherd.every("nightherd/gaps", hostname=nightherd.host_id())}
    with nightherd.paused("agent"):
        # More execs than the kernel's ring buffer holds (8 MiB; an exec takes as much as its
        # arguments), in as few processes as that takes.
        argument = "x" * 3900
        subprocess.run(
            ["sh", "-c", f"i=0; while [ $i -lt 3000 ]; do /bin/true {argument}; i=$((i+1)); done"],
            check=True,
            timeout=240,
        )

    def fresh() -> list[dict]:
        gaps = nightherd.every("nightherd/gaps", hostname=nightherd.host_id())
        return [g for g in gaps if g["from"] not in before and g["cause"] == "kernelDrop"]

    gap = nightherd.soon(fresh)[0]
    assert gap["precision"] in ("exact", "atLeast")
    assert gap["lost"] > 100
    wait(
        lambda: [
            h
            for h in nightherd.get("nightherd/hosts", hostname=nightherd.host_id())
            if h["gaps"] > 0 and h["connected"]
        ]
    )


def test_a_secret_in_arguments_is_nowhere(nightherd):
    secret, mark = secrets.token_hex(16), secrets.token_hex(8)
    program = f"/bin/true --mark={mark} --password={secret} --token {secret}"
    subprocess.run([*program.split(), f"https://me:{secret}@example.invalid/"], check=True)

    def seen() -> list[str]:
        return [str(image) for _, image in nightherd.events() if image and mark in str(image)]

    images = nightherd.soon(seen)
    assert f"--mark={mark}" in images[0]
    assert not [image for image in images if secret in image]
    needle = secret.encode()
    with connected(nightherd) as client:
        client.admin.command("fsync")
        found = [
            f"{base}.{name}"
            for base in client.list_database_names()
            for name in client[base].list_collection_names()
            for document in client[base][name].find()
            if needle in _everything(document)
        ]
    assert found == [], [
        f"{event} {image}" for event, image in nightherd.events() if secret in f"{event}{image}"
    ]
    files = [path for path in nightherd.home.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if needle in path.read_bytes()] == []
    assert secret not in nightherd.said()


def _everything(document: dict) -> bytes:
    """A document's bytes, and what its compressed bodies hold."""
    import bson
    import zstandard

    content = bson.encode(document)
    body = document.get("b")
    if isinstance(body, bytes) and body.startswith(b"\x28\xb5\x2f\xfd"):
        content += zstandard.ZstdDecompressor().decompress(body, max_output_size=4 << 20)
    return content


def test_keys_in_a_home_that_is_100_ms_old_are_seen(nightherd):
    name = a_name()
    home = Path("/home") / name
    try:
        # As a provisioning daemon does it: home, .ssh and key in one go.
        script = 'mkdir "$1" "$1/.ssh" && echo "ssh-ed25519 AAAA x" > "$1/.ssh/authorized_keys"'
        subprocess.run(["sh", "-c", script, "provision", str(home)], check=True)
        wanted = f"{home}/.ssh/authorized_keys"
        found = wait(lambda: nightherd.get("forensic/activities", search=wanted))
        assert any(wanted in activity["modifiedFiles"] for activity in found)
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)
        remove_user(name)


def test_names_that_are_no_text_are_told_in_a_readable_way(nightherd):
    mark = a_name()
    path = os.fsencode(f"/etc/cron.d/{mark}-") + b"\xff\x1b]0;\xc3\xa9"
    argument = os.fsencode(f"{mark}-") + b"\xff\x1b[2J"
    try:
        subprocess.run(["/bin/sh", "-c", ': > "$1"', argument, path], check=True)
        shown = f"/etc/cron.d/{mark}-\\xff\\x1b]0;é"
        found = wait(
            lambda: nightherd.get("forensic/activities", search=mark, type="cron modified")
        )
        assert shown in found[0]["modifiedFiles"]
        assert f"{mark}-\\xff\\x1b[2J" in found[0]["command"]
        rows = nightherd.csv("forensic/activities/download", search=mark)
        # A semicolon parts the elements of a list, so one within an element is spelled out.
        in_csv = shown.replace(";", "\\x3b")
        assert any(in_csv in row["modifiedFiles"] for row in rows)
        # The search finds what is shown.
        assert nightherd.get("forensic/activities", search=shown)
    finally:
        Path(os.fsdecode(path)).unlink()
