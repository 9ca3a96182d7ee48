"""Settings: read once, wrong or unknown means no start."""

from typing import ClassVar

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.settings import MongoSettings, load


class Fields(MongoSettings):
    program: ClassVar[str] = "store"
    model_config = SettingsConfigDict(env_prefix="NIGHTHERD_STORE_")

    drain_seconds: float = Field(default=5, ge=0)
    listen: str = "127.0.0.1:0"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("NIGHTHERD_"):
            monkeypatch.delenv(name)


def test_environment_wins_over_the_file(monkeypatch, tmp_path):
    file = tmp_path / "nightherd.toml"
    file.write_text(
        'log_level = "debug"\n[store]\nlisten = "file:1"\ndrain_seconds = 2\n[agent]\nx = 1\n'
    )
    monkeypatch.setenv("NIGHTHERD_CONFIG", str(file))
    monkeypatch.setenv("NIGHTHERD_STORE_LISTEN", "environment:2")
    settings = load(Fields)
    assert (settings.listen, settings.drain_seconds, settings.log_level) == (
        "environment:2",
        2,
        "debug",
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NIGHTHERD_STORE_LISTN", "x"),
        ("NIGHTHERD_TYPO", "x"),
        ("NIGHTHERD_STORE_DRAIN_SECONDS", "-1"),
        ("NIGHTHERD_STORE_DRAIN_SECONDS", "soon"),
        ("NIGHTHERD_LOG_LEVEL", "loud"),
        ("NIGHTHERD_CONFIG", "/nowhere.toml"),
    ],
)
def test_wrong_or_unknown_means_no_start_and_the_variable_is_named(
    monkeypatch, capsys, variable, value
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as end:
        load(Fields)
    assert end.value.code == 2
    assert variable in capsys.readouterr().err


def test_other_programs_variables_are_theirs(monkeypatch):
    monkeypatch.setenv("NIGHTHERD_AGENT_LEVEL", "poll")
    assert load(Fields).drain_seconds == 5


def test_a_secret_is_not_shown(monkeypatch):
    monkeypatch.setenv("NIGHTHERD_MONGO_URL", "mongodb://u:hush@h/")
    settings = load(Fields)
    assert "hush" not in repr(settings)
    assert "hush" in settings.mongo_url.get_secret_value()
