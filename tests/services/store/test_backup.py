"""Backups of a running store: restored they prove the same; damaged they are told."""

import asyncio
import os
import secrets
import signal
import stat
import sys

import pytest
from google.protobuf.json_format import MessageToDict

from chassis import mongo
from chassis.channel import Channel
from cli.backup import keys
from cli.backup.commands import run_verify
from cli.backup.create import create
from cli.backup.folder import BackupError, documents, read_manifest
from cli.backup.restore import restore
from cli.backup.verify import verify
from cli.homes import Home
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as api
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from services.store.__main__ import serve
from services.store.settings import Settings
from tests.builders import HOST, a_body, a_chain, an_event, an_image
from tests.conftest import ROOT
from tests.ports import free_port
from tests.services.store.test_findings import an_occurrence
from tests.services.store.test_retention import DAY_NS, T0, daily, erasure, received, retention
from tests.services_client import deliver, until_serving

PROGRAMS = ("STORE", "MODELER", "DETECTOR", "GATEWAY")


def silent(_text):
    pass


def named(monkeypatch, mark):
    for program in PROGRAMS:
        monkeypatch.setenv(f"NIGHTHERD_{program}_DATABASE", f"{program.lower()}_{mark}")


@pytest.fixture
async def mongo_client(mongo_url):
    client = mongo.connect(mongo_url)
    yield client
    client.close()


@pytest.fixture
async def source(store, tls, detector, monkeypatch):
    """A store with evidence: some dropped, kept, erased, a gap, an index of every kind."""
    body = a_body((an_image(), an_event(gap=events.Gap(lost=3))))
    await deliver(store.address, tls.host(), daily(6, per_day=3), HOST)
    other = "2" * 32
    await deliver(store.address, tls.host(other), a_chain([body] * 50, host_id=other), other)
    await received(store.database, T0)
    alert = an_occurrence("alert", "k", second=1)
    await detector.RecordFindings(api.RecordFindingsRequest(findings=[alert]))
    await retention(store.database, evidence_days=4).once(T0 + 5 * DAY_NS)
    await store.stub.EraseEvidence(erasure())
    named(monkeypatch, secrets.token_hex(4))
    monkeypatch.setenv("NIGHTHERD_STORE_DATABASE", store.database.name)
    return store


@pytest.fixture
async def elsewhere(source, mongo_client, monkeypatch):
    """Call it to look at empty databases from then on; they are removed afterwards."""
    mark = secrets.token_hex(4)

    def move():
        named(monkeypatch, mark)
        return mongo_client[f"store_{mark}"]

    yield move
    for program in PROGRAMS:
        await mongo_client.drop_database(f"{program.lower()}_{mark}")


async def contents(database, left_out=("leases", "walks")):
    found = {}
    for name in sorted(await database.list_collection_names()):
        if name not in left_out:
            rows = await database[name].find({}).sort("_id", 1).to_list(None)
            found[name] = rows, await database[name].index_information()
    return found


async def reports(stub):
    answers = [
        await stub.VerifyCustody(api.VerifyCustodyRequest(host_id=host))
        for host in (HOST, "2" * 32)
    ]
    return [MessageToDict(answer) for answer in answers]


async def test_a_restored_backup_is_the_same_and_proves_the_same(
    source, elsewhere, mongo_client, mongo_url, tmp_path, tls
):
    folder = tmp_path / "backup"
    await create(mongo_client, folder, None, silent)
    before, proved = await contents(source.database), await reports(source.stub)
    report = verify(folder)
    assert (report.faults, report.batches, report.holes) == ([], 68, 0)
    assert report.header_only == sum(
        chain.get("headerOnlyCount", 0) and int(chain["headerOnlyCount"])
        for answer in proved
        for chain in answer["chains"]
    )
    assert report.header_only > 0
    database = elsewhere()
    await restore(mongo_client, folder, silent)
    assert await contents(database) == before
    settings = Settings(
        listen=f"127.0.0.1:{free_port()}",
        tls_dir=tls.folder("store"),
        NIGHTHERD_MONGO_URL=mongo_url,
        database=database.name,
        drain_seconds=0.2,
    )
    serving = asyncio.create_task(serve(settings))
    channel = Channel(settings.listen, tls.identity("gateway"), "store")
    await until_serving(channel.get())
    assert await reports(StoreServiceStub(channel.get())) == proved
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await channel.close()
    with pytest.raises(BackupError, match="not empty"):
        await restore(mongo_client, folder, silent)
    with pytest.raises(BackupError, match="there already"):
        await create(mongo_client, folder, None, silent)


async def test_a_backup_of_chains_that_begin_later_has_no_holes(source, mongo_client, tmp_path):
    old = retention(source.database, evidence_days=2, headers_days=2)
    await old.once(T0 + 5 * DAY_NS)
    folder = tmp_path / "backup"
    await create(mongo_client, folder, None, silent)
    report = verify(folder)
    assert (report.faults, report.batches, report.holes) == ([], 9, 0)


async def test_a_backup_is_whole_while_batches_arrive(source, mongo_client, tmp_path, tls):
    host = "3" * 32
    chain = a_chain([None] * 600, host_id=host)
    first, identity = asyncio.Event(), tls.host(host)

    async def arrive():
        for start in range(20, 600, 20):
            if start == 580:  # some come when the first backup is whole
                await first.wait()
            await deliver(source.address, identity, chain[start : start + 20], host)

    await deliver(source.address, identity, chain[:20], host)
    arriving = asyncio.create_task(arrive())
    taken = []
    while not arriving.done():
        folder = tmp_path / f"b{len(taken)}"
        await create(mongo_client, folder, None, silent)
        taken.append(verify(folder))
        first.set()
    await arriving
    assert [report.faults for report in taken] == [[]] * len(taken)
    assert 68 < taken[0].batches < 668


def damage(path, place):
    content = bytearray(path.read_bytes())
    content[place * len(content) // 10] ^= 0x55
    path.write_bytes(content)


@pytest.mark.parametrize("place", range(0, 10, 3))
async def test_a_damaged_backup_is_told_and_never_restored(
    source, elsewhere, mongo_client, tmp_path, place
):
    folder = tmp_path / "backup"
    manifest = await create(mongo_client, folder, None, silent)
    dumped = max(manifest.collections, key=lambda each: each.size_bytes)
    damage(folder / dumped.file, place)
    assert run_verify(folder) == 1
    elsewhere()
    with pytest.raises(BackupError):
        await restore(mongo_client, folder, silent)
    names = await mongo_client.list_database_names()
    assert not {os.environ[f"NIGHTHERD_{p}_DATABASE"] for p in PROGRAMS} & set(names)


@pytest.mark.parametrize("what", ["body", "kept", "header", "tail"])
async def test_evidence_that_was_altered_before_the_backup_is_told(
    source, mongo_client, tmp_path, what
):
    names = await source.database.list_collection_names()
    prefix = {"body": "bodies_", "kept": "kept_bodies"}.get(what, "batches_")
    name = max(n for n in names if n.startswith(prefix))
    if what in ("body", "kept"):
        row = await source.database[name].find_one({})
        field = "p" if "p" in row else "b"
        shorter = {"$set": {field: row[field][:-1]}}
        await source.database[name].update_one({"_id": row["_id"]}, shorter)
    elif what == "header":
        other = a_chain([None], chain_id=b"\1" * 16)[0]
        await source.database[name].update_one({}, {"$set": {"k": other.header}})
    else:
        await source.database[name].delete_many({})
    folder = tmp_path / "backup"
    await create(mongo_client, folder, None, silent)
    assert verify(folder).faults
    assert run_verify(folder) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text[:-5],
        lambda text: text.replace("store/chains.bson.zst", "../../etc/shadow"),
        lambda text: text.replace('"program": "store"', '"program": "other"'),
        lambda _: "[" * 100_000,
    ],
)
async def test_a_manifest_that_is_none_is_refused(source, mongo_client, tmp_path, change):
    folder = tmp_path / "backup"
    await create(mongo_client, folder, None, silent)
    manifest = folder / "manifest.json"
    manifest.write_text(change(manifest.read_text()))
    with pytest.raises(BackupError):
        read_manifest(folder)
    assert run_verify(folder) == 1


RUN = """
import asyncio, os, sys
from pathlib import Path
from chassis import mongo
from cli.backup.restore import restore
from tests.services.store.killed import killed_at
killed_at("insert", "chains", 1)
asyncio.run(restore(mongo.connect(sys.argv[1]), Path(sys.argv[2]), print))
"""


async def test_a_restore_that_was_killed_is_begun_anew(
    source, elsewhere, mongo_client, mongo_url, tmp_path
):
    folder = tmp_path / "backup"
    await create(mongo_client, folder, None, silent)
    before = await contents(source.database)
    database = elsewhere()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    arguments = ("-c", RUN, mongo_url, str(folder))
    run = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    assert await run.wait() == -signal.SIGKILL
    assert {"restoring", "chains"} <= set(await database.list_collection_names())
    await restore(mongo_client, folder, silent)
    assert await contents(database) == before


async def test_nothing_half_stays_of_a_backup_that_fails(source, mongo_client, tmp_path):
    folder = tmp_path / "backup"
    (tmp_path / "backup.partial").mkdir()
    home = Home(tmp_path / "home")
    with pytest.raises(BackupError, match="no keys"):
        await create(mongo_client, folder, home, silent)
    assert list(tmp_path.glob("backup*")) == []


async def test_keys_come_along_only_when_asked_for(source, mongo_client, tmp_path):
    home = Home(tmp_path / "home")
    home.ca.mkdir(parents=True)
    (home.ca / "ca-key.pem").write_text("secret key")
    home.password_file.write_text("secret word\n")
    without = tmp_path / "without"
    await create(mongo_client, without, None, silent)
    assert not (without / "keys").exists()
    folder = tmp_path / "with"
    manifest = await create(mongo_client, folder, home, silent)
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    other = Home(tmp_path / "other")
    for _ in range(2):
        keys.restore(other, folder, manifest.keys)
    assert (other.ca / "ca-key.pem").read_text() == "secret key"
    other.password_file.write_text("another\n")
    with pytest.raises(BackupError, match="nothing was replaced"):
        keys.restore(other, folder, manifest.keys)
    (folder / "keys" / "ca" / "ca-key.pem").write_text("forged key")
    assert run_verify(folder) == 1


async def test_a_file_that_ends_in_the_middle_is_told(source, mongo_client, tmp_path):
    folder = tmp_path / "backup"
    manifest = await create(mongo_client, folder, None, silent)
    (dumped,) = [each for each in manifest.collections if each.name == "hosts"]
    path = folder / dumped.file
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BackupError):
        list(documents(folder, dumped))
