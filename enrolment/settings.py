"""What the enrolment program can be told."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.settings import Settings as Common


class Settings(Common):
    """NIGHTHERD_ENROLMENT_… variables, or the table [enrolment]."""

    program: ClassVar[str] = "enrolment"
    model_config = SettingsConfigDict(env_prefix="NIGHTHERD_ENROLMENT_")

    listen: str = Field(default="127.0.0.1:8404", description="host:port to serve HTTPS on")
    dir: Path = Field(
        default=Path("/var/lib/nightherd/ca"),
        description="folder of the authority; `revoked` in it names hosts, one id a line",
    )
    certificate_hours: float = Field(
        default=24, gt=0, le=24 * 30, description="how long a host's certificate is good"
    )
    grace_days: float = Field(
        default=30,
        ge=0,
        description="how long after its end a certificate may still be renewed",
    )
    requests_per_minute: int = Field(
        default=60, ge=1, description="requests of one address (a /64 of IPv6) before it must wait"
    )
    metrics_listen: str = Field(default="", description="host:port of /metrics; empty: none")
    drain_seconds: float = Field(default=5, ge=0, description="grace for answers at the end")
