"""The page of settings says what the code says."""

from pathlib import Path

from cdp.core.settings import reference


def test_settings_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == reference(), "write cdp.core.settings.reference() to docs/settings.md"
