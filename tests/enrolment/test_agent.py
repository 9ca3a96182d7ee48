"""An agent that was off until its certificate was over: renews, and then ships what it kept."""

import asyncio
import datetime as dt
import os
import signal

import pytest

from chassis.tls import Identity
from tests.agent.receiver import Receiver, assert_gapless
from tests.agent.running import HOST_ID, Agent, an_agent, changed, spooled, told


class _Tls:
    """The authority that `Agent.enrol` asks."""

    def __init__(self, authority) -> None:
        self.authority = authority


def _store(program, tmp_path):
    program.authority.issue(tmp_path / "store", "store")
    return Identity(tmp_path / "store")


async def _expire(agent: Agent, program, folder) -> Identity:
    """Enrol the agent, three days ago."""
    key = await agent.enrol()
    program.host(folder, ended=dt.timedelta(days=2), host_id=HOST_ID, signing_key=key)
    return Identity(folder)


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root")
async def test_it_renews_after_it_expired_offline_and_ships(enrolment, tmp_path, free_port):
    receiver = Receiver()
    async with an_agent(tmp_path, _Tls(enrolment.authority), free_port) as agent:
        identity = await _expire(agent, enrolment, tmp_path / "tls")
        old = identity.certificate()
        async with receiver.serve(_store(enrolment, tmp_path), f"127.0.0.1:{free_port}"):
            # Without the program it can reach nobody, and keeps what it sees.
            await agent.start()
            spool = tmp_path / "agent" / "spool"
            await receiver.until(lambda: spooled(spool))
            assert await agent.end(signal.SIGTERM) == 0
            assert receiver.hellos == []
            await agent.start(enrolment=enrolment.url)
            await receiver.until(lambda: receiver.batches)
            assert identity.certificate() != old
            assert identity.peer().host_id == HOST_ID
            await receiver.until(
                lambda: any(event.agent_status.self_test_passed for _, event in told(receiver))
            )
            assert await agent.end(signal.SIGTERM) == 0
        assert_gapless(receiver.batches)


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root")
async def test_it_watches_while_nobody_renews_it(tmp_path, an_enrolment, free_port):
    """The program is down and the certificate over: the agent senses and spools all the same."""
    receiver, program = Receiver(), an_enrolment()
    program.stop()
    async with an_agent(tmp_path, _Tls(program.authority), free_port) as agent:
        identity = await _expire(agent, program, tmp_path / "tls")
        await agent.start(enrolment=program.url)
        async with receiver.serve(_store(program, tmp_path), f"127.0.0.1:{free_port}"):
            file = agent.watched / "one"
            spool = tmp_path / "agent" / "spool"
            await receiver.until(lambda: spooled(spool))
            file.write_text("x")
            await receiver.until(lambda: bytes(file) in spooled(spool))
            assert receiver.hellos == []
            await asyncio.to_thread(program.start)
            await receiver.until(lambda: changed(receiver, file), 60)
            assert identity.certificate().not_valid_after_utc > dt.datetime.now(dt.UTC)
            assert await agent.end(signal.SIGTERM) == 0
        assert_gapless(receiver.batches)
