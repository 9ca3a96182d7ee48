"""Nothing is settled over what is still under way; policies of a herd take the default's place."""

import asyncio
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import mongo
from nightherd.detector.v1 import finding_pb2 as pb
from services.detector import packaged
from services.detector.policies import Policies
from services.detector.progress import Line, Progress
from services.detector.repository import Repository
from tests.builders import CHAIN, HOST


@given(st.permutations(range(1, 9)))
def test_a_number_settles_only_when_all_before_it_are_done(order):
    line = Line()
    steps = {number: line.enter(number) for number in range(1, 9)}
    done, settled = set(), 0
    for number in order:
        done.add(number)
        settled = max(settled, line.finish(steps[number]))
        assert settled == next(n for n in range(9) if n + 1 not in done)


@pytest.fixture
async def repository(mongo_url):
    client = mongo.connect(mongo_url)
    name = f"detector_{secrets.token_hex(4)}"
    yield Repository(client[name])
    await client.drop_database(name)
    client.close()


async def test_settled_numbers_are_written_and_never_go_back(repository):
    progress, chain = Progress(repository, 0.01), (HOST, CHAIN)
    for number in (5, 3):
        async with progress.step(Line(), chain, number):
            pass
        await progress.flush()
    assert await repository.settled(HOST, [CHAIN, b"x" * 16]) == {CHAIN: 5, b"x" * 16: 0}
    assert progress.settled(chain) == 0


async def test_a_batch_that_failed_keeps_all_behind_it_unsettled(repository):
    progress, line, chain = Progress(repository, 0.01), Line(), (HOST, CHAIN)
    with pytest.raises(TimeoutError):
        async with progress.step(line, chain, 1):
            raise TimeoutError
    async with progress.step(line, chain, 2):
        pass
    assert progress.settled(chain) == 0


async def test_what_is_settled_is_written_at_the_end(repository):
    progress = Progress(repository, 60)
    running = asyncio.create_task(progress.run())
    async with progress.step(Line(), (HOST, CHAIN), 4):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await repository.settled(HOST, [CHAIN]))[CHAIN] == 4


async def test_a_herd_may_have_a_policy_of_its_own_and_a_wrong_one_changes_nothing(repository):
    policies = Policies(repository)
    activities = packaged.document("policy.yaml")["activities"]
    activities["accounts modified"]["effect"] = "record"
    accounts = pb.ACTIVITY_TYPE_ACCOUNTS_MODIFIED
    collection = repository._policies
    await collection.insert_one({"_id": "web", "policy": {"activities": activities}})
    await policies.read()
    assert not policies.of("web").policy.activities[accounts].alerts
    assert policies.of("default").policy.activities[accounts].alerts
    await collection.replace_one({"_id": "web"}, {"policy": {"activities": {"nonsense": {}}}})
    await policies.read()
    assert not policies.of("web").policy.activities[accounts].alerts
    await collection.delete_one({"_id": "web"})
    await policies.read()
    assert policies.of("web").policy.activities[accounts].alerts
