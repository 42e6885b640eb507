"""Settings: what the environment says, and the line for the operator when it is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aicp_common.settings import EXIT_CONFIG, Settings, SettingsError, load_settings
from aicp_gateway.settings import GatewaySettings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NATS_URL", "REDIS_URL", "LOG_LEVEL", "ADMIN_PORT", "JWT_SECRET", "JWT_REQUIRED", "PORT"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_are_for_a_laptop() -> None:
    settings = load_settings(GatewaySettings)
    assert (settings.host, settings.port, settings.http_port, settings.jwt_required) == ("127.0.0.1", 8765, 8080, False)


def test_a_value_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("redis://:from-the-file@127.0.0.1:6379/0\n")
    monkeypatch.setenv("REDIS_URL_FILE", str(secret))
    assert load_settings(Settings).redis_url == "redis://:from-the-file@127.0.0.1:6379/0"
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "nothing"))
    with pytest.raises(SettingsError, match="REDIS_URL_FILE"):
        load_settings(Settings)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ADMIN_PORT", "abc", "ADMIN_PORT: was 'abc'; allowed: a whole number"),
        ("ADMIN_PORT", "70000", "65535"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("PORT", "-1", "PORT: was '-1'"),
        ("JWT_REQUIRED", "perhaps", "JWT_REQUIRED: was 'perhaps'; allowed: true or false"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as wrong:
        load_settings(GatewaySettings)
    assert says in str(wrong.value)


def test_the_line_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_REQUIRED", "true")
    monkeypatch.setenv("JWT_SECRET", "too-short")
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@127.0.0.1:6379/0")
    with pytest.raises(SettingsError) as wrong:
        load_settings(GatewaySettings)
    assert "JWT_SECRET" in str(wrong.value)
    assert "too-short" not in str(wrong.value)
    assert "hunter2" not in str(wrong.value)
    monkeypatch.setenv("REDIS_URL", "http://:hunter2@127.0.0.1")
    with pytest.raises(SettingsError) as wrong:
        load_settings(GatewaySettings)
    assert "REDIS_URL" in str(wrong.value)
    assert "hunter2" not in str(wrong.value)


@pytest.mark.parametrize("variable", ["LOG_LEVEL", "OTEL_TRACES_EXPORTER"])
def test_a_service_with_a_wrong_value_ends_with_one_line(variable: str) -> None:
    environment = {**os.environ, variable: "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "aicp_gateway"], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == EXIT_CONFIG
    [line] = done.stderr.splitlines()
    assert line.startswith("configuration: ")
    assert variable in line
