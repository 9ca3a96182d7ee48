"""`nightherd erase` asks before evidence goes."""

import os
import secrets

import pytest

from chassis import clock
from tests.builders import T0, a_chain

WHY = ("--authority", "A. Judge", "--reason", "order 12/26")


@pytest.fixture
async def host_id(backend):
    name = secrets.token_hex(16)
    await backend.deliver(a_chain([None] * 3, host_id=name), name)
    return name


@pytest.fixture
def terminal():
    """Answer as a person at a terminal."""
    opened = []

    def answering(text):
        ours, theirs = os.openpty()
        opened.extend((ours, theirs))
        os.write(ours, text)
        return theirs

    yield answering
    for fd in opened:
        os.close(fd)


async def removed(api, host_id):
    (chain,) = (await api.rows(f"/nightherd/custody/{host_id}"))["chains"]
    return chain["headersOnly"]


async def test_a_dry_run_needs_no_reason_and_takes_nothing(ask, api, host_id):
    said = await ask("erase", "--host", host_id, "--dry-run")
    assert "the beginning to the end: 3 batches, 3 events, " in said
    assert "nothing was erased" in said
    late = clock.rfc3339(T0 + clock.NS * 86400)
    assert ": 0 batches" in await ask("erase", "--host", host_id, "--since", late, "--dry-run")
    assert await removed(api, host_id) == 0


async def test_without_a_terminal_and_without_yes_nothing_goes(ask, api, host_id):
    said = await ask("erase", "--host", host_id, *WHY, status=2)
    assert "--yes erases without asking" in said
    assert "--reason is needed" in await ask(
        "erase", "--host", host_id, "--authority", "A. Judge", "--yes", status=2
    )
    assert await removed(api, host_id) == 0


async def test_a_person_is_asked_and_may_say_no(ask, api, host_id, terminal):
    for answer in (b"n\n", b"\n", b"\x04"):
        said = await ask("erase", "--host", host_id, *WHY, stdin=terminal(answer), status=1)
        assert "3 batches, 3 events" in said
    assert await removed(api, host_id) == 0
    assert "erased" in await ask("erase", "--host", host_id, *WHY, stdin=terminal(b"y\n"))
    assert await removed(api, host_id) == 3


async def test_yes_asks_nobody_and_a_refusal_is_told(ask, api, host_id):
    assert "There is no host nobody" in await ask(
        "erase", "--host", "nobody", *WHY, "--yes", status=4
    )
    assert "erased" in await ask("erase", "--host", host_id, *WHY, "--yes")
    assert await removed(api, host_id) == 3
