"""What the modeler can be told."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from chassis.settings import MongoSettings


class Settings(MongoSettings):
    """NIGHTHERD_MODELER_… variables, or the table [modeler]."""

    program: ClassVar[str] = "modeler"
    model_config = SettingsConfigDict(env_prefix="NIGHTHERD_MODELER_")

    listen: str = Field(default="127.0.0.1:8402", description="host:port to serve gRPC on")
    tls_dir: Path = Field(description="folder with ca.pem, cert.pem and key.pem of role modeler")
    metrics_listen: str = Field(default="", description="host:port of /metrics; empty: none")
    database: str = Field(default="nightherd_modeler", description="name of the database")
    drain_seconds: float = Field(
        default=5, ge=0, description="grace for calls in flight at the end"
    )
    reflection: bool = Field(default=True, description="let clients list the API")
    unit_seconds: int = Field(default=3600, ge=1, description="length of one unit of observation")
    span_seconds: int = Field(
        default=86_400, ge=1, description="length of a calendar day of observation"
    )
    new_stories_a_span: float = Field(
        default=0.5, gt=0, description="new stories a span at which a model may activate"
    )
    known_behaviours: int = Field(
        default=50_000, ge=1, description="behaviours kept in memory to spare writes"
    )

    @field_validator("span_seconds")
    @classmethod
    def _holds_units(cls, span_seconds: int, others: ValidationInfo) -> int:
        if span_seconds < others.data.get("unit_seconds", 1):
            raise ValueError("a span must be at least as long as a unit")
        return span_seconds
