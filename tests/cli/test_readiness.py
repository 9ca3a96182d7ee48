"""Waiting for a MongoDB that somebody else runs."""

import pytest

from cli import readiness
from cli.errors import UpError


async def test_an_unreachable_mongodb_is_said_without_its_password(free_port, monkeypatch):
    monkeypatch.setattr(readiness, "MONGO_S", 0.5)
    url = f"mongodb://me:secret@127.0.0.1:{free_port}/?serverSelectionTimeoutMS=100"
    with pytest.raises(UpError, match="MongoDB of NIGHTHERD_MONGO_URL does not answer") as refused:
        await readiness.until_mongo_answers(url)
    assert "secret" not in str(refused.value)
