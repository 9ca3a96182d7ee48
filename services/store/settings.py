"""What the store can be told."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from chassis.settings import MongoSettings


class Settings(MongoSettings):
    """NIGHTHERD_STORE_… variables, or the table [store]."""

    program: ClassVar[str] = "store"
    model_config = SettingsConfigDict(env_prefix="NIGHTHERD_STORE_")

    listen: str = Field(default="127.0.0.1:8401", description="host:port to serve gRPC on")
    tls_dir: Path = Field(description="folder with ca.pem, cert.pem and key.pem of role store")
    metrics_listen: str = Field(default="", description="host:port of /metrics; empty: none")
    database: str = Field(default="nightherd_store", description="name of the database")
    drain_seconds: float = Field(
        default=5, ge=0, description="grace for calls in flight at the end"
    )
    reflection: bool = Field(default=True, description="let clients list the API")
    group_batches: int = Field(default=64, ge=1, le=256, description="most batches in one insert")
    set_aside_bytes: int = Field(
        default=64 << 20, ge=0, description="bytes of rejected batches kept for each host"
    )
    evidence_days: int = Field(
        default=0,
        ge=0,
        description="whole days (UTC) that bodies of batches are kept since they were sealed and "
        "received; headers stay; 0: keep",
    )
    activities_days: int = Field(
        default=0, ge=0, description="whole days (UTC) that activities are kept; 0: keep"
    )
    alerts_days: int = Field(
        default=0,
        ge=0,
        description="whole days (UTC) that alerts are kept since they last happened; 0: keep",
    )
    headers_days: int = Field(
        default=0,
        ge=0,
        description="whole days (UTC) that headers are kept since they were sealed and received, "
        "not fewer than evidence_days: then chains begin later (docs/custody.md); 0: for ever",
    )
    incident_days: int = Field(
        default=0,
        ge=0,
        description="whole days (UTC) that incidents, and bodies kept around them, stay since "
        "their last alert was and came; not fewer than evidence_days; 0: keep",
    )
    incident_bytes: int = Field(
        default=64 << 20,
        ge=0,
        description="bytes of bodies kept around each incident (10 minutes before its first to "
        "10 minutes after its last alert) when they would go",
    )
    host_bytes: int = Field(
        default=0,
        ge=0,
        description="bytes of bodies kept for each host; above, its oldest go; 0: no quota",
    )
    retention_seconds: float = Field(
        default=3600, ge=1, description="pause between two looks for what is too old"
    )
    custody_seconds: float = Field(
        default=20, ge=0.1, description="pause between two walks over links of new batches"
    )
    scrub_mb_per_second: float = Field(
        default=1.0,
        ge=0,
        le=10_000,
        description="megabytes of bodies compared with their hashes each second (4 KiB "
        "more for each batch); 0: none",
    )
    heads_file: Path | None = Field(
        default=None,
        description="file that gets a signed list of chain heads; .key and .pub lie beside it",
    )
    heads_seconds: float = Field(
        default=3600, ge=0.1, description="pause between two lines of the list of chain heads"
    )

    @model_validator(mode="after")
    def _some_outlive_bodies(self) -> Self:
        """Incidents, what is kept around them, and headers stay for longer than bodies.

        Raises:
            ValueError: it would not be.
        """
        if 0 < self.incident_days < self.evidence_days:
            raise ValueError("incident_days must not be fewer than evidence_days; 0 keeps for ever")
        if self.headers_days and not 0 < self.evidence_days <= self.headers_days:
            raise ValueError(
                "headers_days must not be fewer than evidence_days, which must be set: headers "
                "outlive bodies; 0 keeps them for ever"
            )
        return self
