"""Exports as they are asked for, and a signed chain of hostile events to export."""

import asyncio
import json
import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis import clock
from chassis.tls import Identity
from cli.export import run_export
from cli.homes import Home
from cli.parts import proof_of
from evidence.exports.formats import FORMATS
from nightherd.event.v1 import event_pb2 as events
from tests.builders import T0, a_body, a_chain, a_person, an_event, an_image, changes
from tests.gateway.conftest import ADMIN, PASSWORD
from tests.services_client import STORE, deliver

HOSTILE = b'=cmd|"\xff\n\x1b[31m,\xe2\x80\xae'
NAMES = [each.name for each in FORMATS]
SIGNER = Ed25519PrivateKey.generate()
KEY = SIGNER.public_key().public_bytes_raw().hex()


def bodies(count=5):
    """Batches of a person's events, with bytes that no format likes."""
    made = []
    for number in range(count):
        base = T0 + number * clock.NS
        person = a_person(b"/usr/bin/" + HOSTILE, [b"x", HOSTILE], pid=700 + number, user="-zo")
        connect = events.Connect(
            protocol=events.PROTOCOL_TCP, remote_address="10.0.0.1", remote_port=443
        )
        made.append(
            a_body(
                (person, an_event(time_ns=base)),
                (
                    person,
                    an_event(time_ns=base + 1000, file_change=changes(b"/etc/passwd", HOSTILE)),
                ),
                (an_image(pid=900), an_event(time_ns=base + 2000, connect=connect)),
            )
        )
        made[-1].events.append(an_event(None, base + 3000, gap=events.Gap(lost=3)))
    return made


async def a_signed_host(backend, authority, folder):
    """Deliver a chain that is signed at its second and fourth of five batches; return its host."""
    host_id = secrets.token_hex(16)
    key = SIGNER.public_key().public_bytes_raw()
    authority.issue(folder, "host", host_id=host_id, herd="default", signing_key=key)
    chain = a_chain(bodies(), host_id=host_id, signer=SIGNER)
    for number in (0, 2, 4):
        chain[number].signature = b""
    await deliver(backend.address[STORE], Identity(folder), chain, host_id, STORE)
    return host_id


def a_home(folder, monkeypatch, certificates):
    """Return a home for commands that ask the gateway, who find its password and authority."""
    monkeypatch.setenv("NIGHTHERD_ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("NIGHTHERD_CA", str(certificates / "gateway" / "ca.pem"))
    home = Home(folder)
    home.state.mkdir(parents=True)
    return home


async def ask(api, form, query, auth=ADMIN):
    """Ask for an export over REST."""
    return await api.client.get(f"/nightherd/export/{form}", params=query, auth=auth)


async def exported(home, port, form, out, **query):
    """Export to a file as the command does; return its status."""
    (home.state / "port").write_text(str(port))
    return await asyncio.to_thread(run_export, home, form, out, query)


def said(whole):
    """Return the lines of an export's proof, read."""
    return [json.loads(line) for line in proof_of(whole).read_text().splitlines()]
