"""Ids of the modeler's documents: they follow from what a document is about."""

import hashlib

from services.modeler.domain.learning import Learned

# Cannot stand in a herd's or a service's name: both are printable.
SEPARATOR = "\x1f"


def model_id(herd: str, service: str) -> str:
    """Id of all that is about one service of one herd."""
    return f"{herd}{SEPARATOR}{service}"


def behaviour_id(learned: Learned) -> str:
    """Id of a behaviour: of fixed length, for subjects can be long."""
    content = SEPARATOR.join((learned.herd, learned.service, str(learned.facet), learned.subject))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:40]
