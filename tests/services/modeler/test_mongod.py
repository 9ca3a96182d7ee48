"""MongoDB is killed while the modeler learns: it waits, goes on, and nothing is missing."""

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from chassis import mongo
from tests.builders import a_body, a_chain, an_event, an_image
from tests.conftest import mongod_binary
from tests.services.modeler.conftest import Modeler


def mongod(folder):
    return subprocess.Popen(
        [
            mongod_binary(),
            *("--dbpath", str(folder), "--bind_ip", str(folder / "m.sock"), "--port", "27017"),
            *("--networkMessageCompressors", "disabled", "--wiredTigerCacheSizeGB", "0.25"),
            *("--unixSocketPrefix", str(folder), "--logpath", str(folder / "log"), "--logappend"),
        ],
        stdout=subprocess.DEVNULL,
    )


@pytest.fixture
def own_mongod():
    folder = Path(tempfile.mkdtemp(prefix="nh-"))
    running = [mongod(folder)]
    yield f"mongodb://{quote_plus(str(folder / 'm.sock'))}/?directConnection=true", folder, running
    running[-1].kill()
    running[-1].wait()
    shutil.rmtree(folder, ignore_errors=True)


async def test_nothing_is_lost_when_mongod_is_killed(own_mongod, start, tls):
    url, folder, running = own_mongod
    modeler: Modeler = await start(NIGHTHERD_MONGO_URL=url)
    chain = a_chain(a_body((an_image(f"/usr/bin/p{n}"), an_event())) for n in range(400))
    client = mongo.connect(url)
    behaviours = client[modeler.database]["behaviours"]
    back = asyncio.Event()

    async def send():  # again and again: something is under way when mongod is killed
        await modeler.learn(chain)
        while not back.is_set():
            await modeler.learn(chain)

    sending = asyncio.create_task(send())
    async with asyncio.timeout(60):
        while await behaviours.count_documents({}) < 5:
            await asyncio.sleep(0.01)
    running[-1].kill()
    running[-1].wait()
    assert not sending.done()
    (folder / "m.sock").unlink(missing_ok=True)
    running.append(mongod(folder))
    back.set()
    await asyncio.wait_for(sending, 60)
    assert await behaviours.count_documents({}) == 400
    client.close()
