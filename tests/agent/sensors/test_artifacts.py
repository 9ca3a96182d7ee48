"""Files that people who examine Linux hosts collect are watched, or it is said why not."""

from pathlib import Path

import pytest
import yaml

from agent.sensors.watchlist import load

HERE = Path(__file__).parent
HOME = "%%users.homedir%%"


@pytest.fixture
def artifacts(shared_data):
    """Every path of a Linux host that names one file."""
    found = set()
    files = sorted((shared_data / "forensic-artifacts/artifacts/data").glob("linux*.yaml"))
    assert files
    for file in files:
        for artifact in yaml.safe_load_all(file.read_text()):
            for source in artifact["sources"]:
                of_linux = "Linux" in source.get("supported_os", ["Linux"])
                if source["type"] == "FILE" and of_linux:
                    found |= set(source["attributes"]["paths"])
    single = {path.replace(HOME, "~") for path in found if "*" not in path}
    return {path for path in single if "%%" not in path}


@pytest.fixture
def unwatched():
    reasons = yaml.safe_load((HERE / "unwatched_artifacts.yaml").read_text())
    return [path for reason in reasons for path in reason["paths"] if reason["why"]]


def is_watched(watch_list, path: str) -> bool:
    name = path.replace("~", "/home/alice", 1).encode()
    # A folder counts when what is in it does.
    return bool(watch_list.entry_for(name) or watch_list.entry_for(name + b"/x"))


def test_each_artifact_is_watched_or_it_is_said_why_not(artifacts, unwatched):
    watch_list = load()
    missing = {path for path in artifacts if not is_watched(watch_list, path)}
    assert missing - set(unwatched) == set()
    assert len(artifacts) > 100


def test_nothing_is_excused_twice_or_for_nothing(artifacts, unwatched):
    watch_list = load()
    assert len(unwatched) == len(set(unwatched))
    assert set(unwatched) <= artifacts
    assert [path for path in unwatched if is_watched(watch_list, path)] == []
