"""The databases behind a running `nightherd up`, read as anybody with its socket could."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_plus

import pymongo

from tests.system.running import Running
from tests.system.verifier import Chain, signing_key, verify


def mongo_url(running: Running) -> str:
    """URL of its mongod, from the command line it was started with."""
    arguments = Path(f"/proc/{running.child('mongod')}/cmdline").read_bytes().split(b"\0")
    socket = arguments[arguments.index(b"--bind_ip") + 1].decode()
    return f"mongodb://{quote_plus(socket)}/?directConnection=true"


@contextmanager
def connected(running: Running) -> Iterator[pymongo.MongoClient]:
    """A connection to its mongod."""
    client: pymongo.MongoClient = pymongo.MongoClient(mongo_url(running), timeoutMS=30_000)
    try:
        yield client
    finally:
        client.close()


def verified_chains(running: Running) -> list[Chain]:
    """Every chain in its store, checked by the independent verifier."""
    keys = {}
    for certificate in running.home.glob("agent/tls/cert.pem"):
        keys[running.host_id()] = signing_key(certificate.read_bytes())
    with connected(running) as client:
        return verify(client["nightherd_store"], keys)
