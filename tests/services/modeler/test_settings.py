"""Settings that make no sense do not start."""

import pytest

from chassis.settings import load
from services.modeler.settings import Settings


def test_a_span_shorter_than_a_unit_is_named_and_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("NIGHTHERD_MODELER_TLS_DIR", str(tmp_path))
    monkeypatch.setenv("NIGHTHERD_MODELER_UNIT_SECONDS", "10")
    monkeypatch.setenv("NIGHTHERD_MODELER_SPAN_SECONDS", "5")
    with pytest.raises(SystemExit) as ended:
        load(Settings)
    assert ended.value.code == 2
    assert "NIGHTHERD_MODELER_SPAN_SECONDS" in capsys.readouterr().err
