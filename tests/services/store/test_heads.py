"""Signed heads of a running store, and what custody says of one that was rolled back."""

import pytest
from grpc import aio

from evidence.heads import ListCheck
from nightherd.store.v1 import store_service_pb2 as api
from services.store.heads import Heads
from services.store.repository.chains import Chains
from tests.builders import CHAIN, HOST, T0, a_chain, batch_hash
from tests.services_client import deliver


def read(file):
    check = ListCheck(bytes.fromhex(file.with_name(file.name + ".pub").read_text()))
    for one in file.read_bytes().splitlines(keepends=True):
        check.see(one)
    return check


async def custody(store, number, hashed, chain=CHAIN, **fields):
    head = api.VerifyCustodyRequest.Head(chain_id=chain.hex(), number=number, hash=hashed.hex())
    request = api.VerifyCustodyRequest(host_id=HOST, heads=[head], **fields)
    answer = await store.stub.VerifyCustody(request)
    return [(f.batch_number, f.kind) for c in answer.chains for f in c.faults]


async def test_heads_are_listed_as_they_change_over_restarts(store, tls, tmp_path):
    file = tmp_path / "custody" / "heads.jsonl"
    chain = a_chain([None] * 5)
    heads = Heads(Chains(store.database), file)
    await heads.append()
    await deliver(store.address, tls.host(), chain[:3], HOST)
    await heads.append()
    await heads.append()
    await deliver(store.address, tls.host(), chain[3:], HOST)
    with file.open("ab") as opened:
        opened.write(b'{"time": "torn')  # killed while it wrote
    await Heads(Chains(store.database), file).append()
    check = read(file)
    assert check.faults == []
    assert check.lines == 4
    (head,) = check.heads.values()
    assert (head.host, head.chain, head.number) == (HOST, CHAIN.hex(), 5)
    assert head.hash == batch_hash(chain[-1]).hex()
    assert file.with_name("heads.jsonl.key").stat().st_mode & 0o777 == 0o600
    lines = file.read_bytes().splitlines()
    assert [line.count(b'"number"') for line in lines] == [0, 1, 0, 1]


async def test_a_store_that_lost_what_it_vouched_for_was_rolled_back(store, tls):
    chain = a_chain([None] * 5)
    await deliver(store.address, tls.host(), chain[:4], HOST)
    assert await custody(store, 4, batch_hash(chain[3])) == []
    assert await custody(store, 2, batch_hash(chain[1])) == []
    assert await custody(store, 5, batch_hash(chain[4])) == [(5, "rolled back")]
    assert await custody(store, 3, batch_hash(chain[1])) == [(3, "rolled back")]
    assert await custody(store, 1, batch_hash(chain[0]), b"\x09" * 16) == [(1, "rolled back")]
    with pytest.raises(aio.AioRpcError, match="heads"):
        await custody(store, 4, batch_hash(chain[3]), from_time={"seconds": T0 // 10**9})
