"""Certificates say who somebody is, and nothing else passes."""

import datetime as dt

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.authority import Authority
from chassis.channel import open_channel
from chassis.errors import UnauthenticatedError
from chassis.server import Server
from chassis.tls import ROLES, Identity, Peer, peer_of


def test_an_identity_says_role_host_herd_and_signing_key(tls):
    key = bytes(range(32))
    host = tls.host("a" * 32, herd="web", signing_key=key)
    assert host.peer() == Peer("host", "a" * 32, "web", key)
    for role in set(ROLES) - {"host"}:
        assert tls.identity(role).peer() == Peer(role)


@pytest.mark.parametrize(
    ("role", "host_id"), [("host", ""), ("store", "h"), ("root", ""), ("", "")]
)
def test_no_identity_for_a_role_that_does_not_exist(authority, tmp_path, role, host_id):
    with pytest.raises(ValueError, match="no identity"):
        authority.issue(tmp_path, role, host_id=host_id)


def test_a_foreign_spiffe_id_is_nobody(tmp_path, authority):
    with pytest.raises(UnauthenticatedError):
        peer_of((authority_file := _own_certificate(authority, tmp_path)).read_bytes())
    assert authority_file.exists()


def _own_certificate(authority, folder):
    from cryptography.hazmat.primitives import serialization

    path = folder / "ca-as-leaf.pem"
    path.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    return path


def test_the_authority_survives_a_restart_and_keys_are_private(tmp_path):
    first = Authority.open(tmp_path / "ca")
    again = Authority.open(tmp_path / "ca")
    assert first.certificate == again.certificate
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "ca" / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    again.issue(tmp_path / "id", "store")
    assert (tmp_path / "id" / "key.pem").stat().st_mode & 0o777 == 0o600


async def _health(address, identity):
    channel = open_channel(address, identity.channel_credentials(), "store")
    async with channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(), timeout=60)).status


async def test_expired_and_foreign_certificates_do_not_connect(tls, tmp_path):
    async with Server("127.0.0.1:0", tls.identity("store"), []) as server:
        await server.ready()
        address = f"127.0.0.1:{server.port}"
        assert await _health(address, tls.identity("gateway")) == 1
        long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=3)
        expired = tls.identity("importer", now=long_ago)
        foreign = Authority.open(tmp_path / "other")
        foreign.issue(tmp_path / "foreign", "gateway")
        for identity in (expired, Identity(tmp_path / "foreign")):
            with pytest.raises(aio.AioRpcError) as refused:
                await _health(address, identity)
            assert refused.value.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )
