"""What the agent can be told."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from agent.cloud import ADDRESS
from chassis.settings import Settings as Common


class Settings(Common):
    """NIGHTHERD_AGENT_… variables, or the table [agent]."""

    program: ClassVar[str] = "agent"
    model_config = SettingsConfigDict(env_prefix="NIGHTHERD_AGENT_")

    dir: Path = Field(
        default=Path("/var/lib/nightherd/agent"), description="folder of spool and signing key"
    )
    tls_dir: Path = Field(
        default=Path("/var/lib/nightherd/agent/tls"),
        description="folder with ca.pem, cert.pem and key.pem of role host",
    )
    store: str = Field(default="", description="host:port of the store; empty: do not ship there")
    detector: str = Field(default="", description="host:port of the detector; empty: do not ship")
    modeler: str = Field(default="", description="host:port of the modeler; empty: do not ship")
    enrolment: str = Field(
        default="",
        pattern=r"^(https://[^/?#\s]+/?)?$",
        description="https://host:port of the enrolment program, where the agent renews its "
        "certificate; empty: somebody else replaces the files",
    )
    level: Literal["auto", "full", "audit", "poll"] = Field(
        default="auto", description="the best to try: auto (full), full, audit, poll"
    )
    herd: str = Field(default="", description="must be the certificate's herd; empty: take that")
    cluster: str = Field(default="", description="cluster this host belongs to")
    labels: list[str] = Field(default=[], description='free labels, a JSON list of "key=value"')
    cloud: Literal["auto", "aws", "gcp", "azure", "none"] = Field(
        default="auto",
        description="whose metadata service to ask where this host runs: auto (the maker of the "
        "machine, as its firmware says), aws, gcp, azure, none",
    )
    cloud_url: str = Field(
        default=ADDRESS, pattern=r"^http://[^/]+$", description="where that service listens"
    )
    watch_paths: list[str] = Field(default=[], description="further paths to watch, a JSON list")
    spool_bytes: int = Field(
        default=1 << 30, ge=16 << 20, description="most bytes of the spool (at least 16 MiB)"
    )
    service_events_per_second: int = Field(
        default=5000,
        ge=0,
        description="events a second that one service may say before it is cut short; 0: no limit",
    )
    hash_bytes: int = Field(
        default=64 << 20,
        ge=0,
        le=1 << 40,
        description="largest file of which the SHA-256 is told, when it runs or is watched and "
        "changes; 0: none",
    )
    hash_cpu_percent: int = Field(
        default=10,
        ge=1,
        le=100,
        description="how much of one CPU hashing may use on average, at the lowest priority",
    )
    retry_seconds: float = Field(
        default=12.8,
        ge=0.2,
        description="longest pause between two tries to reach a receiver that does not answer",
    )
    metrics_listen: str = Field(default="", description="host:port of /metrics; empty: none")
    status_seconds: float = Field(
        default=600, ge=1, description="how often the agent says how it fares"
    )
    self_test_seconds: float = Field(
        default=3600, ge=1, description="how often the agent tests that it sees what it should"
    )
