"""What the gateway can be told."""

import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from chassis.settings import MongoSettings
from chassis.tls import CERT_FILE, KEY_FILE


class Settings(MongoSettings):
    """NIGHTHERD_GATEWAY_… variables, or the table [gateway]."""

    program: ClassVar[str] = "gateway"
    model_config = SettingsConfigDict(env_prefix="NIGHTHERD_GATEWAY_")

    listen: str = Field(default="127.0.0.1:8083", description="host:port to serve HTTPS on")
    tls_dir: Path = Field(description="folder with ca.pem, cert.pem, key.pem of role gateway")
    tls_cert: Path | None = Field(
        default=None, description="certificate chain for people; default: cert.pem in tls_dir"
    )
    tls_key: Path | None = Field(default=None, description="its key; default: key.pem in tls_dir")
    store: str = Field(default="127.0.0.1:8401", description="host:port of the store")
    modeler: str = Field(default="127.0.0.1:8402", description="host:port of the modeler")
    detector: str = Field(default="127.0.0.1:8403", description="host:port of the detector")
    database: str = Field(default="nightherd_gateway", description="name of the database")
    admin_password: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="NIGHTHERD_ADMIN_PASSWORD",
        description="password of the user admin; set at each start when given",
    )
    admin_password_file: Path | None = Field(
        default=None, description="file with the password of the user admin, when none is given"
    )
    metrics_listen: str = Field(default="", description="host:port of /metrics; empty: none")
    token_minutes: int = Field(default=30, ge=1, le=71580, description="life of a bearer token")
    lockout_failures: int = Field(
        default=10, ge=1, description="wrong passwords of one user from one address until a lockout"
    )
    lockout_seconds: int = Field(default=300, ge=1, description="how long a lockout lasts")
    renewal_check_seconds: float = Field(
        default=30, gt=0, description="how often the certificate's files are looked at"
    )
    export_processes: int = Field(
        default_factory=lambda: min(os.cpu_count() or 1, 4),
        ge=0,
        le=64,
        description="processes that render large exports; default: one a core, at most 4",
    )
    drain_seconds: float = Field(default=5, ge=0, description="grace for answers at the end")

    def first_password(self) -> str:
        """Return the password that the user admin should have; empty: none is given.

        Raises:
            OSError: the file cannot be read.
        """
        given = self.admin_password.get_secret_value()
        if given or self.admin_password_file is None:
            return given
        return self.admin_password_file.read_text(encoding="utf-8").strip()

    def certificate(self) -> tuple[Path, Path]:
        """Return the files of certificate and key that people see."""
        return self.tls_cert or self.tls_dir / CERT_FILE, self.tls_key or self.tls_dir / KEY_FILE
