"""What is generated is fresh, and what is named exists."""

import re
from pathlib import Path

import pytest

from cli.__main__ import main
from docs.generate import FILE, PROGRAMS, page

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))


def test_the_settings_page_is_what_the_code_says():
    assert FILE.read_text() == page(), "run: python -m docs.generate"


def test_every_setting_is_described():
    for settings in PROGRAMS:
        for name, field in settings.model_fields.items():
            assert field.description, f"{settings.program}.{name}"


@pytest.mark.parametrize("page_file", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page_file):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page_file.read_text()):
        assert (page_file.parent / target).exists(), target


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", (ROOT / "README.md").read_text())) <= targets


def test_every_command_has_a_help_text():
    for name, command in main.commands.items():
        assert command.help, name


def test_architecture_is_at_most_two_pages():
    assert len((ROOT / "docs" / "architecture.md").read_text().splitlines()) <= 120


def test_the_api_page_names_every_endpoint_and_every_field():
    import importlib
    import pkgutil

    import gateway.routes
    from gateway import fields

    text = (ROOT / "docs" / "api.md").read_text()
    for module in pkgutil.iter_modules(gateway.routes.__path__):
        router = getattr(importlib.import_module(f"gateway.routes.{module.name}"), "router", None)
        for route in router.routes if router else []:
            path = re.sub(r"\{identifier(:path)?\}", "{id}", route.path)
            assert all(f"`{method} {path}`" in text for method in route.methods), path
    for name, _, _ in (*fields.ACTIVITY, *fields.ALERT, *fields.INCIDENT, *fields.EVENT):
        assert f"`{name}`" in text, name
