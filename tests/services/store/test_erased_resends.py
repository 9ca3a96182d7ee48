"""What was removed on purpose stays away when an agent sends it again."""

import pytest

from nightherd.store.v1 import store_service_pb2 as api
from services.store.domain.places import fork_key
from tests.builders import HOST, a_body, a_chain, an_event, an_image, batch_hash, sealed_batch
from tests.services_client import deliver


async def bodies(store):
    (name,) = await store.database.list_collection_names(filter={"name": {"$regex": "^bodies_"}})
    return [row["_id"] async for row in store.database[name].find()]


@pytest.fixture
def erased(store, tls):
    """Deliver a chain, erase it, and forget what was noted, as if the store had been killed."""

    async def erase(chain):
        await deliver(store.address, tls.host(), chain, HOST)
        asked = api.EraseEvidenceRequest(host_id=HOST, authority="A. Judge", reason="order")
        assert (await store.stub.EraseEvidence(asked)).batch_count == len(chain)
        noted = await store.database["chains"].find_one()
        forgotten = {name: noted[name] for name in ("_id", "h", "c")}
        await store.database["chains"].replace_one({"_id": noted["_id"]}, forgotten)

    return erase


async def test_an_erased_body_does_not_come_back_with_a_resend(store, tls, erased):
    chain = a_chain([None] * 3)
    await erased(chain)
    await deliver(store.address, tls.host(), chain, HOST)
    assert await bodies(store) == []
    report = await store.stub.VerifyCustody(api.VerifyCustodyRequest(host_id=HOST))
    assert (report.intact, report.chains[0].header_only_count) == (True, 3)


async def test_a_fork_does_not_take_the_place_of_a_body_that_was_removed(store, tls, erased):
    await erased(a_chain([None]))
    other = sealed_batch(a_body((an_image("/usr/bin/other"), an_event())))
    await deliver(store.address, tls.host(), [other], HOST)
    (key,) = await bodies(store)
    assert key == fork_key(key.rpartition("/")[0], batch_hash(other))
