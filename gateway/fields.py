"""The fields of every answer: order of CSV columns, OpenAPI schema and documentation in one table.

A field is (name, kind, meaning). Fields that are empty are left out of JSON answers, but for a few.
"""

from collections.abc import Iterable
from typing import Any

from evidence import rows as event_rows

Field = tuple[str, str, str]

_ACTOR: tuple[Field, ...] = (
    ("pid", "int", "process id"),
    ("ppid", "int", "process id of the parent"),
    ("execID", "str", "identifies the program run over time, across pid reuse"),
    ("effectiveUser", "str", "whose rights it had"),
    ("sessionID", "int", "audit session, unique within a boot"),
    ("terminal", "str", "terminal of the session"),
    ("sourceAddress", "str", "where the session came from"),
    ("provenance", "str", "who opened the session: interactive, scripted, scheduled, service, …"),
    ("containerID", "str", "container it ran in"),
    ("ancestors", "strs", "programs above it, nearest first"),
    ("attribution", "str", "how sure the actor is: exact, inferred, unknown"),
    ("maintenance", "bool", "it ran for a package manager"),
)

ACTIVITY: tuple[Field, ...] = (
    ("time", "time", "when"),
    ("hostname", "str", "host it happened on"),
    ("user", "str", "login user, else the effective user"),
    ("type", "str", "one of the 15 activity types"),
    ("command", "str", "command line, secrets redacted"),
    ("interactive", "bool", "done by a person, at a terminal or remotely"),
    ("modifiedFiles", "strs", "files that were changed"),
    ("service", "str", "service that did it"),
    ("affectedServices", "strs", "services it was done to"),
    ("ruleName", "str", "rule of the policy"),
    ("accountID", "str", "cloud account of the host"),
    ("cluster", "str", "cluster of the host"),
    ("collections", "strs", "always All"),
    ("id", "str", "identifies the activity"),
    ("hostID", "str", "identifies the host"),
    ("herd", "str", "herd of the host"),
    ("processPath", "str", "program that did it"),
    *_ACTOR,
    ("count", "int", "occurrences that are this one activity"),
    ("wouldAlert", "bool", "it would be an alert if the service's model were active"),
    ("modelRevision", "int", "revision of the models it was judged by"),
)

ALERT: tuple[Field, ...] = (
    ("_id", "str", "identifies the alert"),
    ("time", "time", "when it happened last"),
    ("hostname", "str", "host it happened on last"),
    ("fqdn", "str", "full name of that host"),
    ("user", "str", "login user, else the effective user"),
    ("type", "str", "processes, network or filesystem"),
    ("attackType", "str", "what kind of attack"),
    ("severity", "str", "low, medium or high"),
    ("effect", "str", "what was done about it"),
    ("ruleName", "str", "rule of the policy, or model"),
    ("msg", "str", "what happened, one sentence"),
    ("app", "str", "service that did it"),
    ("profileId", "str", "profile of the host"),
    ("processPath", "str", "program that did it"),
    ("command", "str", "command line, secrets redacted"),
    ("interactive", "bool", "done by a person, at a terminal or remotely"),
    ("count", "int", "how often it happened"),
    ("os", "str", "operating system of the host"),
    ("attackTechniques", "strs", "ATT&CK ids"),
    ("container", "bool", "it ran in a container"),
    ("containerId", "str", "which"),
    ("cluster", "str", "cluster of the host"),
    ("collections", "strs", "always All"),
    ("accountID", "str", "cloud account of the host"),
    ("region", "str", "cloud region of the host"),
    ("port", "int", "port, for network alerts"),
    ("ip", "str", "remote address, for network alerts"),
    ("firstTime", "time", "when it happened first"),
    ("hosts", "strs", "names of all hosts it happened on"),
    ("hostIDs", "strs", "ids of all hosts it happened on"),
    ("hostID", "str", "identifies the host it happened on last"),
    ("herd", "str", "herd of the host"),
    *(field for field in _ACTOR if field[0] != "containerID"),
    ("modifiedFiles", "strs", "files that were changed"),
    ("accounts", "strs", "accounts that were named"),
    ("activityID", "str", "the activity it goes with"),
    ("deviation", "object", "the behaviour that broke the model: facet and subject"),
    ("expected", "str", "what the model expects"),
    ("modelRevision", "int", "revision of the models it was judged by"),
)

_ELSEWHERE = "the contract has it, no row here does: it may be asked for"
ALERT_ELSEWHERE: tuple[Field, ...] = tuple(
    (name, "str", _ELSEWHERE)
    for name in (
        *("appID", "containerName", "country", "err", "function", "functionID", "imageId"),
        *("imageName", "label", "labels", "namespace", "rawEvent", "requestID", "runtime"),
        "version",
    )
)
HOST_PROFILE_ELSEWHERE: tuple[Field, ...] = tuple(
    (name, "object", _ELSEWHERE) for name in ("geoip", "hash", "sshEvents")
)

PROFILE: tuple[Field, ...] = (
    ("_id", "str", "identifies the service in paths (/ is ~1, ~ is ~0)"),
    ("service", "str", "name of the service"),
    ("herd", "str", "herd it is a model for"),
    ("state", "str", "one of the seven states of a model"),
    ("revision", "int", "global revision at which it last changed"),
    ("appliedEverywhere", "bool", "all detectors work with that revision"),
    ("detectors", "objects", "each detector's id and revision"),
    ("capabilities", "strs", "capabilities it may obtain"),
    ("behaviours", "object", "what is normal, by facet"),
    ("candidates", "objects", "seen since it was frozen, not allowed"),
    ("hosts", "strs", "ids of the hosts it was seen on"),
    ("firstSeen", "time", "when it was first seen"),
    ("lastSeen", "time", "when it was last seen"),
    ("stateTime", "time", "when the state last changed"),
    ("unitsObserved", "int", "spans of observation so far"),
    ("predictedAlerts", "float", "alerts a span that activating now would cost"),
    ("predictedAlertsBound", "float", "upper 95 % bound of the same"),
    ("waitingFor", "strs", "what keeps it from activating"),
    ("changedBy", "str", "who set the state"),
)

HOST_PROFILE: tuple[Field, ...] = (
    ("_id", "str", "name of the host"),
    ("hostID", "str", "identifies the host"),
    ("herd", "str", "its herd"),
    ("created", "time", "when it was first heard of"),
    ("time", "time", "when it was last heard of"),
    ("accountID", "str", "cloud account"),
    ("cluster", "str", "cluster"),
    ("collections", "strs", "always All"),
    ("labels", "strs", "osDistro:… and osVersion:…"),
    ("apps", "objects", "its services: name, profileID, state, revision"),
)

HOST_SERVICE: tuple[Field, ...] = (
    ("hostname", "str", "name of the host"),
    ("hostID", "str", "identifies the host"),
    ("herd", "str", "its herd"),
    ("service", "str", "a service on it"),
    ("profileID", "str", "its model's id in paths"),
    ("state", "str", "state of the model"),
    ("revision", "int", "revision of the model"),
)

DIRECTIVE: tuple[Field, ...] = (
    ("host", "str", "identifies the host of which it is asked; empty: of a herd"),
    ("herd", "str", "the herd of which it is asked; empty: of a host"),
    ("watchPaths", "strs", "what its agents watch beside their own list"),
    ("level", "str", "what they work at, at most: full, audit, poll; own: their own setting"),
    ("by", "str", "who asked it"),
    ("at", "time", "when it was asked; null: just now"),
)

HOST: tuple[Field, ...] = (
    ("hostID", "str", "identifies the host"),
    ("hostname", "str", "its name"),
    ("fqdn", "str", "its full name"),
    ("herd", "str", "its herd"),
    ("os", "str", "operating system"),
    ("kernel", "str", "kernel release"),
    ("architecture", "str", "machine architecture"),
    ("timeZone", "str", "its time zone"),
    ("addresses", "strs", "its addresses"),
    ("cluster", "str", "cluster"),
    ("labels", "strs", "free labels"),
    ("cloudProvider", "str", "aws, gcp or azure"),
    ("accountID", "str", "cloud account"),
    ("region", "str", "cloud region"),
    ("cloudInstance", "str", "the cloud's id of the machine"),
    ("level", "str", "what its agent can see: full, audit, poll"),
    ("notSeen", "strs", "what its agent cannot see, and why"),
    ("selfTestPassed", "bool", "the agent's last self-test passed"),
    ("agentVersion", "str", "version of the agent"),
    ("agentState", "str", "state of the agent"),
    ("agentRssBytes", "int", "memory of the agent"),
    ("agentPeakRssBytes", "int", "highest memory of the agent since its start"),
    ("agentCpuMs", "int", "CPU time of the agent since its start"),
    ("agentProcesses", "int", "processes of the host that the agent knows to live"),
    ("eventsCollected", "int", "events the agent has not sealed yet"),
    ("batchesUnwritten", "int", "batches sealed that the agent's disk has not taken yet"),
    ("behindStore", "int", "batches that the store had not settled, as the agent said"),
    ("behindDetector", "int", "batches that the detector had not settled, as the agent said"),
    ("behindModeler", "int", "batches that the modeler had not settled, as the agent said"),
    ("spoolBytes", "int", "bytes in the agent's spool"),
    ("lost", "int", "events known to be lost since the agent's start"),
    ("connected", "bool", "its agent has a stream open"),
    ("firstSeen", "time", "when it was first heard of"),
    ("lastSeen", "time", "when it was last heard of"),
    ("lastEvent", "time", "time of its latest event"),
    ("clockSkewMs", "int", "its clock minus the store's"),
    ("batches", "int", "batches stored"),
    ("events", "int", "events stored"),
    ("gaps", "int", "stretches with events missing"),
    ("rejected", "int", "batches that were set aside"),
    ("imported", "bool", "its events came from files"),
    ("chains", "objects", "its chains with their flags"),
)

GAP: tuple[Field, ...] = (
    ("hostID", "str", "identifies the host"),
    ("hostname", "str", "its name"),
    ("cause", "str", "why events are missing"),
    ("from", "time", "first moment"),
    ("to", "time", "last moment"),
    ("precision", "str", "what lost means: exact, atLeast, unknown"),
    ("lost", "int", "how many are missing"),
    ("source", "str", "which sensor"),
    ("service", "str", "whose budget was used up"),
    ("detail", "str", "one sentence"),
    ("firstBatch", "int", "first batch that is missing; 0: it is not about whole batches"),
    ("lastBatch", "int", "last batch that is missing"),
)

EVENT: tuple[Field, ...] = event_rows.EVENT

TIMELINE: tuple[Field, ...] = (
    ("time", "time", "when"),
    ("entry", "str", "event, activity, alert, incident or gap"),
    ("hostname", "str", "host it happened on"),
    ("hostID", "str", "identifies the host"),
    ("sentence", "str", "what happened, in one sentence"),
    ("item", "object", "the row of the event, activity, alert, incident or gap"),
)

INCIDENT: tuple[Field, ...] = (
    ("id", "str", "identifies the incident"),
    ("hostname", "str", "host it is on"),
    ("hostID", "str", "identifies the host"),
    ("herd", "str", "herd of the host"),
    ("state", "str", "open, quiet (no alert for a day) or acknowledged"),
    ("firstTime", "time", "when its first alert happened"),
    ("lastTime", "time", "when its last alert happened"),
    ("users", "strs", "who stands behind its alerts"),
    ("sessionID", "int", "audit session it is about; absent: no session"),
    ("bootID", "str", "boot that the session is of"),
    ("service", "str", "service it is about, where it is no session"),
    ("alerts", "int", "how many alerts, each time one happened"),
    ("high", "int", "how many of them are high"),
    ("medium", "int", "how many are medium"),
    ("low", "int", "how many are low"),
    ("attackTypes", "strs", "what kinds of attack, at most 100"),
    ("alertIDs", "strs", "ids of its alerts, at most 100"),
    ("acknowledged", "time", "when somebody said that they have seen it"),
    ("acknowledgedBy", "str", "who"),
    ("note", "str", "what they noted"),
    ("keptBatches", "int", "batches around it that are kept although their day is gone"),
    ("keptBytes", "int", "bytes of these"),
    ("leftOutBatches", "int", "batches around it that went, for want of room"),
    ("leftOutBytes", "int", "bytes of these"),
)

DEED: tuple[Field, ...] = (
    ("time", "time", "when"),
    ("username", "str", "who, as they said"),
    ("type", "str", "login, profile or settings"),
    ("sourceIP", "str", "where from"),
    ("api", "str", "what was called"),
    ("status", "str", "what became of it"),
    ("failure", "bool", "it was refused"),
    ("diff", "str", "what was changed"),
)

CAPABILITY: tuple[Field, ...] = (
    ("name", "str", "its name"),
    ("description", "str", "what it permits"),
    ("programs", "strs", "programs whose execution obtains it"),
    ("files", "strs", "paths whose change obtains it"),
    ("sensed", "bool", "a sensor can see it being obtained"),
)

_KINDS: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "strs": {"type": "array", "items": {"type": "string"}},
    "object": {"type": "object"},
    "objects": {"type": "array", "items": {"type": "object"}},
}


def columns(fields: Iterable[Field]) -> tuple[str, ...]:
    """Return the columns of the CSV file."""
    return tuple(name for name, _, _ in fields)


def schema(fields: Iterable[Field]) -> dict[str, Any]:
    """Return the JSON schema of one row."""
    properties = {name: {**_KINDS[kind], "description": text} for name, kind, text in fields}
    return {"type": "object", "properties": properties}


def rows(fields: Iterable[Field], *, paged: bool = True) -> dict[str, Any]:
    """Return the OpenAPI description of an answer of rows; `paged`: with Total-Count."""
    answer: dict[str, Any] = {
        "description": "rows",
        "content": {"application/json": {"schema": {"type": "array", "items": schema(fields)}}},
    }
    if paged:
        count = {"schema": {"type": "integer"}, "description": "how many rows match in all"}
        answer["headers"] = {"Total-Count": count}
    return {"responses": {"200": answer}}


def pages(fields: Iterable[Field]) -> dict[str, Any]:
    """Return the OpenAPI description of an answer of rows that is paged by a cursor."""
    described = rows(fields, paged=False)
    described["responses"]["200"]["headers"] = {
        "Next-Cursor": {
            "schema": {"type": "string"},
            "description": "`cursor` of the next page; absent: there is no more now",
        }
    }
    return described


def one(fields: Iterable[Field]) -> dict[str, Any]:
    """Return the OpenAPI description of an answer of one row."""
    content = {"application/json": {"schema": schema(fields)}}
    return {"responses": {"200": {"description": "one", "content": content}}}


def file(fields: Iterable[Field], media_type: str = "text/csv") -> dict[str, Any]:
    """Return the OpenAPI description of a download."""
    listed = ", ".join(columns(fields))
    content = {media_type: {"schema": {"type": "string", "description": f"Columns: {listed}"}}}
    return {"responses": {"200": {"description": "a file", "content": content}}}
