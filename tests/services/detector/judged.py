"""Judging made short, for tests."""

from behaviour.behaviours import Behaviour
from behaviour.model import Model, by_facet
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.modeler.v1 import model_pb2 as models
from services.detector import packaged
from services.detector.engine import Models, Rules, judge
from tests.builders import BOOT, CHAIN, HOST, a_body

RULES = Rules(packaged.table(), packaged.default_policy())


def a_header(number=1, herd="default", host_id=HOST):
    return delivery.BatchHeader(
        host_id=host_id, chain_id=CHAIN, batch_number=number, herd=herd, boot_id=BOOT
    )


def a_model(service="nginx.service", *behaviours, active=True, herd="default", revision=7):
    state = models.MODEL_STATE_ACTIVE if active else models.MODEL_STATE_LEARNING
    return Model(herd, service, state, revision, by_facet(Behaviour(*b) for b in behaviours))


def judged(*items, model=None, number=1, herd="default", host_id=HOST, hostname="h1", body=None):
    """Judge a batch of (image, event) pairs; return (activities, alerts) as findings."""
    of = {(model.herd, model.service): model} if model is not None else {}
    found = judge(
        a_body(*items) if body is None else body,
        a_header(number, herd, host_id),
        Models(of, 7),
        RULES,
        hostname,
    )
    return (
        [f for f in found if f.HasField("activity")],
        [f for f in found if f.HasField("alert")],
    )
