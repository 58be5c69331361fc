"""Settings: the environment, secrets from files, and what follows from them."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from cdp.core.settings import SECRETS, Environment, Settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CDP_ENV", "CDP_STATE_DIR", "CDP_PORT", "CDP_BASE_URL", *(f"CDP_{name.upper()}" for name in SECRETS)):
        monkeypatch.delenv(name, raising=False)


def test_defaults_are_for_development():
    settings = Settings()
    assert settings.env is Environment.DEVELOPMENT
    assert settings.url == "http://localhost:8000"
    assert not settings.is_secure
    assert settings.keys_dir == Path(".cdp/keys")


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CDP_BASE_URL", "https://cdp.example.com/")
    monkeypatch.setenv("CDP_COOLING_OFF", "PT5S")
    monkeypatch.setenv("CDP_EXPORT_TTL", "90")
    settings = Settings()
    assert settings.url == "https://cdp.example.com"
    assert settings.is_secure
    assert (settings.cooling_off, settings.export_ttl) == (timedelta(seconds=5), timedelta(seconds=90))


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str):
    (tmp_path / "secret").write_text(f"value of {name}\n")
    monkeypatch.setenv(f"CDP_{name.upper()}_FILE", str(tmp_path / "secret"))
    assert getattr(Settings(), name) == f"value of {name}"
    monkeypatch.setenv(f"CDP_{name.upper()}", "from the environment")
    assert getattr(Settings(), name) == "from the environment"
    assert getattr(Settings(**{name: "given"}), name) == "given"


def test_a_secret_file_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CDP_MASTER_KEYS_FILE", str(tmp_path / "absent"))
    with pytest.raises(OSError, match="absent"):
        Settings()


@pytest.mark.parametrize(("name", "value"), [("CDP_ENV", "staging"), ("CDP_PORT", "http"), ("CDP_COOLING_OFF", "soon")])
def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_networks_of_ones_own_hold_no_address_of_everybody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CDP_INTERNAL_NETWORKS", "10.20.0.0/16, fd12:3456::/32")
    assert [str(one) for one in Settings().internal_networks] == ["10.20.0.0/16", "fd12:3456::/32"]
    for wide in ("0.0.0.0/0", "127.0.0.0/8", "169.254.169.254/32", "::/0", "fe80::/10", "10.0.0.1/8", "intranet"):
        monkeypatch.setenv("CDP_INTERNAL_NETWORKS", wide)
        with pytest.raises(ValidationError):
            Settings()


def test_settings_do_not_change_while_running():
    with pytest.raises(ValidationError):
        Settings().port = 1
