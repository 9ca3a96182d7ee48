"""The policy of a herd: what is recorded, what alerts, and how bad it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2 as models
from services.detector.domain.activity_table import Type, type_of_name

Severity: TypeAlias = "pb.Severity.ValueType"
ALERT = "alert"
_EFFECTS = (ALERT, "record", "disable")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of something that was done."""

    effect: str
    attack_type: str
    severity: Severity
    techniques: tuple[str, ...]
    done: str = ""
    only_sensitive: bool = False

    @property
    def alerts(self) -> bool:
        """Whether it raises an alert."""
        return self.effect == ALERT


@dataclass(frozen=True, slots=True)
class Record:
    """What is recorded beside what people do."""

    services: bool
    logins: bool
    sudo: bool
    docker: bool
    docker_read_only: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy; what each field means is said in policy.yaml."""

    rule_name: str
    persons: frozenset[int]
    record: Record
    activities: Mapping[Type, Verdict]
    deviations: Mapping[int, Verdict]
    capabilities: Mapping[str, Verdict]
    contained: tuple[str, ...]
    login_written: Verdict
    """When a process writes its own login uid."""
    rights: Verdict | None = None

    def verdict_of(self, type_: Type, *, rights: bool) -> Verdict:
        """Return what becomes of a person's activity; `rights`: a file got setuid or setgid."""
        return self.rights if rights and self.rights is not None else self.activities[type_]

    def is_person(self, image: events.Image) -> bool:
        """Whether what `image` does is judged as a person's doing.

        Where nobody knows who opened the session, a login user says that it was a person.
        """
        provenance = image.provenance
        if provenance == events.PROVENANCE_UNSPECIFIED:
            return image.HasField("login_user_id")
        return provenance in self.persons

    def records(self, type_: Type, *, person: bool, read_only: bool = False) -> bool:
        """Whether an activity is recorded at all."""
        if type_ == pb.ACTIVITY_TYPE_LOGIN:
            return self.record.logins
        if type_ == pb.ACTIVITY_TYPE_SUDO and not self.record.sudo:
            return False
        if type_ == pb.ACTIVITY_TYPE_DOCKER and not (
            self.record.docker_read_only if read_only else self.record.docker
        ):
            return False
        return person or self.record.services

    def of_deviation(self, facet: int, subject: str) -> Verdict:
        """Return what becomes of a behaviour that a model does not know."""
        if facet == models.FACET_OBTAINS and subject in self.capabilities:
            return self.capabilities[subject]
        return self.deviations[facet]


def parse(document: Mapping[str, Any]) -> Policy:
    """Read policy.yaml, or what a herd has in its place.

    Raises:
        ValueError: a name in it is unknown.
        KeyError: something is missing.
    """
    deviations: dict[int, Verdict] = {
        models.Facet.Value(f"FACET_{name.upper()}"): _verdict(item)
        for name, item in document["deviations"].items()
    }
    obtains = document["deviations"]["obtains"]
    return Policy(
        rule_name=document["rule_name"],
        persons=frozenset(
            events.Provenance.Value(f"PROVENANCE_{name.upper()}") for name in document["persons"]
        ),
        record=Record(**document["record"]),
        activities={
            type_of_name(name): _verdict(item) for name, item in document["activities"].items()
        },
        deviations=deviations,
        capabilities={
            name: _verdict({**obtains, **item}) for name, item in document["capabilities"].items()
        },
        contained=tuple(document["contained"]),
        rights=_verdict(document["rights"]) if "rights" in document else None,
        login_written=_verdict(document.get("login_written", {"effect": "record"})),
    )


def _verdict(item: Mapping[str, Any]) -> Verdict:
    if item["effect"] not in _EFFECTS:
        raise ValueError(f"effect {item['effect']!r} is none of {_EFFECTS}")
    return Verdict(
        effect=item["effect"],
        attack_type=item.get("attack_type", ""),
        severity=pb.Severity.Value(f"SEVERITY_{item.get('severity', 'low').upper()}"),
        techniques=tuple(item.get("techniques", ())),
        done=item.get("done", ""),
        only_sensitive=item.get("only_sensitive", False),
    )
