"""The catalogue of refusals: each reason once, each with a code of its own choice."""

import importlib
import pkgutil

import grpc

import agent
import cli
import delivery
import enrolment
import gateway
import services
from chassis.errors import NightherdError, to_status


def all_errors() -> set[type[NightherdError]]:
    for package in (agent, cli, delivery, enrolment, gateway, services):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, todo = set(), [NightherdError]
    while todo:
        for cls in todo.pop().__subclasses__():
            found.add(cls)
            todo.append(cls)
    return found


def test_reasons_are_unique_and_codes_are_set():
    errors = all_errors()
    reasons = [cls.reason for cls in errors]
    assert len(reasons) == len(set(reasons)), sorted(r for r in reasons if reasons.count(r) > 1)
    for cls in errors:
        assert cls.code is not grpc.StatusCode.UNKNOWN, cls
        assert cls.reason.isupper(), cls
        assert cls.__doc__, cls
        status = to_status(cls("why", key="value"))
        assert status.message == "why"
        assert status.code == cls.code.value[0]
