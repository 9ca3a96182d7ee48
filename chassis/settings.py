"""Typed settings, read once at start from the environment or a TOML file. Wrong means no start."""

import os
import sys
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

PREFIX = "NIGHTHERD_"
PROGRAMS = ("AGENT", "STORE", "MODELER", "DETECTOR", "GATEWAY", "ENROLMENT")
# Settings without a program's name: they mean the same to every program that reads them.
SHARED = frozenset({"HOME", "MONGO_URL", "ADMIN_PASSWORD", "LOG_LEVEL", "LOG_FORMAT", "CONFIG"})

Some = TypeVar("Some", bound="Settings")


class Settings(BaseSettings):
    """What every program can be told. Each program subclasses this once.

    A field `listen` of the store is NIGHTHERD_STORE_LISTEN, or `listen` in the table `[store]` of
    the TOML file that NIGHTHERD_CONFIG names. The environment wins.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    program: ClassVar[str] = ""

    log_level: str = Field(
        default="info",
        validation_alias="NIGHTHERD_LOG_LEVEL",
        pattern="^(debug|info|warning|error)$",
        description="least level that is logged: debug, info, warning, error",
    )
    log_format: str = Field(
        default="auto",
        validation_alias="NIGHTHERD_LOG_FORMAT",
        pattern="^(auto|json|console)$",
        description="json, console, or auto: console on a terminal",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the program's table of the TOML file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        path = os.environ.get(f"{PREFIX}CONFIG")
        if path:
            sources += (_ProgramTable(settings_cls, Path(path), cls.program),)
        return sources


class MongoSettings(Settings):
    """Settings of a program that uses MongoDB."""

    mongo_url: SecretStr = Field(
        default=SecretStr("mongodb://localhost:27017"),
        validation_alias="NIGHTHERD_MONGO_URL",
        description="MongoDB URL; a unix socket is given percent-encoded",
    )


class _ProgramTable(TomlConfigSettingsSource):
    """The table of one program in the TOML file, and what stands above all tables."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path, program: str) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"NIGHTHERD_CONFIG names {path}, which is not a file")
        self._program = program
        super().__init__(settings_cls, path)

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        document = super()._read_file(file_path)
        common = {k: v for k, v in document.items() if not isinstance(v, dict)}
        table = document.get(self._program, {})
        return {**common, **table}


def load(cls: type[Some]) -> Some:
    """Read `cls` from the environment, or end the program with a message that names the fault.

    Raises:
        SystemExit: status 2; a value is wrong, or a NIGHTHERD_… variable is misspelt.
    """
    try:
        _refuse_unknown(cls)
        return cls()
    except ValidationError as error:
        faults = error.errors(include_input=False)
        lines = [
            f"  {_variable(cls, str((*fault['loc'], '')[0]))}: {fault['msg']}" for fault in faults
        ]
        sys.exit(_fail(cls, lines))
    except (OSError, ValueError) as error:
        sys.exit(_fail(cls, [f"  {error}"]))


def _variable(cls: type[Settings], field: str) -> str:
    if not field:  # several settings do not fit one another: the message names them
        return cls.program
    return field if field.startswith(PREFIX) else f"{PREFIX}{cls.program}_{field}".upper()


def _fail(cls: type[Settings], lines: list[str]) -> int:
    print("\n".join([f"{cls.program}: wrong settings:", *lines]), file=sys.stderr)  # noqa: T201
    return 2


def _refuse_unknown(cls: type[Settings]) -> None:
    """pydantic-settings ignores variables it does not know; a typo must not pass."""
    own = f"{cls.program.upper()}_"
    for variable in os.environ:
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX)
        if name.startswith(own):
            if name.removeprefix(own).lower() not in cls.model_fields:
                raise ValueError(f"{variable} is not a setting of the {cls.program}")
        elif name not in SHARED and not name.startswith(tuple(f"{p}_" for p in PROGRAMS)):
            raise ValueError(f"{variable} is not a setting of Nightherd")
