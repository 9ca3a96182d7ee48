"""Every RPC names who may call it; the table is generated from the protos."""

import importlib
import pkgutil

import pytest
from google.protobuf.descriptor import ServiceDescriptor

import nightherd
from chassis import access
from chassis.errors import PermissionDeniedError
from chassis.tls import ROLES, Peer

# Agents append, never read; an importer is an agent for files.
AGENTS = {"AppendBatches", "InspectBatches", "ObserveBatches"}


def all_services() -> list[ServiceDescriptor]:
    services = []
    for module in pkgutil.walk_packages(nightherd.__path__, "nightherd."):
        if module.name.endswith("_pb2"):
            loaded = importlib.import_module(module.name)
            services += loaded.DESCRIPTOR.services_by_name.values()
    return services


METHODS = access.callers(all_services())


def test_all_services_are_found():
    assert len({m.split("/")[1] for m in METHODS}) == 3


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_rpc_names_its_callers(method):
    assert METHODS[method], f"{method} has no option callers: nobody could call it"
    assert METHODS[method] <= set(ROLES)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_agents_append_and_never_read(method):
    is_append = method.rpartition("/")[2] in AGENTS
    assert (METHODS[method] == {"host", "importer"}) == is_append
    assert bool(METHODS[method] & {"host", "importer"}) == is_append


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("role", ROLES)
def test_the_check_lets_in_exactly_the_named_roles(method, role):
    peer = Peer(role, "h" if role == "host" else "")
    if role in METHODS[method]:
        access.check(METHODS, method, peer)
    else:
        with pytest.raises(PermissionDeniedError):
            access.check(METHODS, method, peer)


def test_an_unknown_method_is_refused_to_everybody():
    for role in ROLES:
        with pytest.raises(PermissionDeniedError):
            access.check(METHODS, "/nightherd.store.v1.StoreService/Nothing", Peer(role))
