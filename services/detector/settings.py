"""What the detector can be told."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.settings import MongoSettings


class Settings(MongoSettings):
    """NIGHTHERD_DETECTOR_… variables, or the table [detector]."""

    program: ClassVar[str] = "detector"
    model_config = SettingsConfigDict(env_prefix="NIGHTHERD_DETECTOR_")

    listen: str = Field(default="127.0.0.1:8403", description="host:port to serve gRPC on")
    tls_dir: Path = Field(description="folder with ca.pem, cert.pem and key.pem of role detector")
    store: str = Field(default="127.0.0.1:8401", description="host:port of the store")
    modeler: str = Field(default="127.0.0.1:8402", description="host:port of the modeler")
    metrics_listen: str = Field(default="", description="host:port of /metrics; empty: none")
    database: str = Field(default="nightherd_detector", description="name of the database")
    drain_seconds: float = Field(
        default=5, ge=0, description="grace for calls in flight at the end"
    )
    reflection: bool = Field(default=True, description="let clients list the API")
    settle_seconds: float = Field(
        default=0.2, gt=0, le=10, description="how often what is settled is written down"
    )
