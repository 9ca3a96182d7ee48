"""A mongod and a store of their own, as processes, for one benchmark."""

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote_plus

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pymongo import MongoClient

from benchmarks.live_agent import program, stop
from benchmarks.results import CannotRun
from chassis.authority import Authority
from chassis.channel import open_channel
from chassis.tls import Identity
from cli import mongod
from nightherd.store.v1 import store_service_pb2 as api
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub

_START_S = 60.0
DATABASE = "nightherd_store"


class Backend:
    """MongoDB and a store that serves.

    Raises:
        CannotRun: One of them does not start here.
    """

    def __init__(self, cache_gb: float = 1.0) -> None:
        """Nothing runs before it is entered."""
        self._cache_gb = cache_gb
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        # One loop for all: gRPC's poller stays with the first.
        self.run = asyncio.Runner().run
        self.folder = Path(tempfile.mkdtemp(prefix="nhb-"))
        try:
            self._start_mongod()
            self.authority = Authority.open(self.folder / "ca")
            self._start_store()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            stop(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_mongod(self) -> None:
        found = mongod.find()
        if not found.binary:
            raise CannotRun("no mongod can be started here")
        data, path = self.folder / "db", self.folder / "m.sock"
        data.mkdir()
        command = [
            found.binary,
            *("--dbpath", str(data), "--bind_ip", str(path), "--port", "27017"),
            *("--networkMessageCompressors", "disabled"),
            *("--wiredTigerCacheSizeGB", str(self._cache_gb)),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--unixSocketPrefix", str(self.folder), "--logpath", str(self.folder / "mongod.log")),
        ]
        self._processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        self.mongo_url = f"mongodb://{quote_plus(str(path))}/?directConnection=true"
        deadline = time.monotonic() + _START_S
        while not path.exists():
            if self._processes[-1].poll() is not None or time.monotonic() > deadline:
                raise CannotRun("mongod did not start")
            time.sleep(0.05)
        self.client: MongoClient[dict[str, Any]] = MongoClient(self.mongo_url)

    def _start_store(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.authority.issue(self.folder / "store", "store", names=["127.0.0.1"])
        self.authority.issue(self.folder / "gateway", "gateway")
        self._processes.append(
            program(
                "services.store",
                log=self.folder / "store.log",
                environment={
                    "NIGHTHERD_STORE_LISTEN": self.address,
                    "NIGHTHERD_STORE_TLS_DIR": str(self.folder / "store"),
                    "NIGHTHERD_MONGO_URL": self.mongo_url,
                    "NIGHTHERD_LOG_LEVEL": "warning",
                },
            )
        )
        self.run(self._until_serving())

    async def _until_serving(self) -> None:
        credentials = Identity(self.folder / "gateway").channel_credentials()
        channel = open_channel(self.address, credentials, "store")
        stub = health_pb2_grpc.HealthStub(channel)
        deadline = time.monotonic() + _START_S
        while True:
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
            except grpc.aio.AioRpcError:
                answer = None
            if answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING:
                break
            if self._processes[-1].poll() is not None or time.monotonic() > deadline:
                raise CannotRun(f"the store did not start, see {self.folder / 'store.log'}")
            await asyncio.sleep(0.1)
        await channel.close()

    @property
    def address(self) -> str:
        """Of the store."""
        return f"127.0.0.1:{self.port}"

    @property
    def pids(self) -> tuple[int, int]:
        """Of mongod and the store."""
        return self._processes[0].pid, self._processes[1].pid

    def host(self, host_id: str, signing_key: bytes, herd: str = "default") -> Identity:
        """Return the identity of a host."""
        folder = self.folder / "hosts" / host_id
        self.authority.issue(folder, "host", host_id=host_id, herd=herd, signing_key=signing_key)
        return Identity(folder)

    def event_count(self) -> int:
        """Events the store says it has, over all hosts."""

        async def ask() -> int:
            credentials = Identity(self.folder / "gateway").channel_credentials()
            channel = open_channel(self.address, credentials, "store")
            count = offset = 0
            while True:
                asked = api.ListHostsRequest(offset=offset, limit=1000)
                answer = await StoreServiceStub(channel).ListHosts(asked)
                count += sum(host.event_count for host in answer.hosts)
                offset += len(answer.hosts)
                if offset >= answer.total_count:
                    await channel.close()
                    return count

        return self.run(ask())


def disk_bytes(database: Any, prefixes: tuple[str, ...]) -> int:
    """Return what collections of these names take on disk, indexes included."""
    database.client.admin.command("fsync")
    total = 0
    for name in database.list_collection_names():
        if name.startswith(prefixes):
            stats = database.command("collStats", name)
            total += stats["storageSize"] + stats["totalIndexSize"]
    return total
