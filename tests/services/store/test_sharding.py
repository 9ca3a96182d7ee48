import pytest

from chassis import mongo
from services.store.repository.sharding import BY_HOST, Sharding, command_of, is_cluster


def test_a_router_is_told_from_a_server():
    assert is_cluster({"msg": "isdbgrid", "ok": 1})
    assert not is_cluster({"isWritablePrimary": True, "setName": "nh", "ok": 1})
    assert command_of("d", "c", BY_HOST) == {"shardCollection": "d.c", "key": {"h": "hashed"}}


@pytest.mark.asyncio
async def test_a_single_server_is_asked_once_and_nothing_is_sharded(mongo_url):
    client = mongo.connect(mongo_url)
    sharding = Sharding(client["sharding"])
    await sharding.spread("batches_20261124", BY_HOST)
    assert "sharding" not in await client.list_database_names()
    client.close()
