"""Ids of the modeler's documents: they follow from what a document is about."""

import hashlib
import json

from services.modeler.domain.learning import Learned

# Cannot stand in a herd's or a service's name: both are printable.
SEPARATOR = "\x1f"


def model_id(herd: str, service: str) -> str:
    """Id of all that is about one service of one herd."""
    return f"{herd}{SEPARATOR}{service}"


def behaviour_id(learned: Learned) -> str:
    """Id of a behaviour: of fixed length, for subjects can be long."""
    # JSON: a path may hold any separator, and must not pass for another service's.
    content = json.dumps([learned.herd, learned.service, int(learned.facet), learned.subject])
    return hashlib.sha256(content.encode()).hexdigest()[:40]
