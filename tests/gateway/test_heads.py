"""`nightherd verify-heads` against the real gateway: all there, rolled back, nobody there."""

import asyncio
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.heads import verify_heads
from cli.homes import Home
from evidence.heads import Head, line
from tests.builders import CHAIN, a_chain, batch_hash
from tests.gateway.conftest import PASSWORD

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw().hex()


@pytest.fixture
def home(api, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTHERD_CA", str(api._ca))
    monkeypatch.setenv("NIGHTHERD_ADMIN_PASSWORD", PASSWORD)
    found = Home(tmp_path)
    found.state.mkdir()
    (found.state / "port").write_text(str(api.port))
    return found


@pytest.fixture
async def delivered(backend):
    host_id = secrets.token_hex(16)
    chain = a_chain([None] * 4, host_id=host_id)
    await backend.deliver(chain[:3], host_id)
    return host_id, chain


def listed(folder, host_id, batch, number):
    file = folder / "heads.jsonl"
    head = Head(host_id, CHAIN.hex(), number, batch_hash(batch).hex())
    file.write_bytes(line("2026-11-24T00:00:00Z", [head], b"", KEY))
    return file


async def test_all_that_was_vouched_for_is_there(home, delivered, capsys):
    file = listed(home.path, delivered[0], delivered[1][2], 3)
    assert await asyncio.to_thread(verify_heads, home, file, PUBLIC, offline=False) == 0
    assert "the store has all of it" in capsys.readouterr().out


@pytest.mark.parametrize("gone", ["end", "host"])
async def test_a_store_that_was_rolled_back_is_told(home, delivered, capsys, gone):
    host_id, chain = delivered
    file = listed(home.path, host_id if gone == "end" else "f" * 32, chain[3], 4)
    assert await asyncio.to_thread(verify_heads, home, file, PUBLIC, offline=False) == 1
    assert "rolled back" in capsys.readouterr().out
    assert await asyncio.to_thread(verify_heads, home, file, PUBLIC, offline=True) == 0


async def test_a_list_that_cannot_be_trusted_or_read_is_told(home, delivered, tmp_path, capsys):
    file = listed(home.path, delivered[0], delivered[1][2], 3)
    file.write_bytes(file.read_bytes().replace(b'"number":3', b'"number":2'))
    assert verify_heads(home, file, PUBLIC, offline=True) == 1
    assert "its signature is wrong" in capsys.readouterr().out
    assert verify_heads(home, file, "zz", offline=True) == 2
    assert verify_heads(home, tmp_path / "none", PUBLIC, offline=True) == 2


async def test_a_head_that_is_none_is_refused(api, delivered):
    answer = await api.get(f"/nightherd/custody/{delivered[0]}", head="x:1:y")
    assert answer.status_code == 400
