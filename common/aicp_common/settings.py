"""Settings from environment variables, every one also as NAME_FILE (Docker secrets)."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from aicp_common.redis_url import checked_redis_url

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: the environment is wrong, starting again will not help."""


class _Files(PydanticBaseSettingsSource):
    """Reads NAME_FILE for each setting NAME."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{field_name.upper()}_FILE")
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{field_name.upper()}_FILE: {path!r} cannot be read: {error}") from error

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class SettingsError(Exception):
    """A setting is wrong; the text is the line for the operator."""


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """What every service reads."""

    model_config = SettingsConfigDict(case_sensitive=False, extra="ignore", env_ignore_empty=True)

    nats_url: str = Field("nats://127.0.0.1:4222", pattern=r"^(nats|tls|ws|wss)://")
    """Several servers of a cluster: separated by commas."""
    redis_url: Annotated[str, AfterValidator(checked_redis_url)] = "redis://127.0.0.1:6379/0"
    """One of the forms of `aicp_common.redis_url`."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    log_format: Annotated[Literal["auto", "plain", "json"], BeforeValidator(_lower)] = "auto"
    """`auto`: plain lines on a terminal, JSON otherwise."""
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(9100, ge=0, le=65535)
    """Where /health, /ready and /metrics answer; 0 picks a free port and logs it."""
    worker_patience_s: float = Field(8.0, ge=1)
    """How long a call waits for a sign of life of the worker that took it; workers give one four times as often."""
    instance: str = Field("", pattern=r"^[A-Za-z0-9_.-]{0,64}$")
    """Name of this worker in logs and in NATS; default: service, host name and process id."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _Files(settings_cls)


SettingsT = TypeVar("SettingsT", bound=Settings)

_SECRETS = {"jwt_secret", "redis_url", "nats_url", "postgres_url"}


def load_settings(kind: type[SettingsT]) -> SettingsT:
    """Read the environment into `kind`.

    Raises:
        SettingsError: a line that names each wrong variable, what it was and what is allowed.
    """
    try:
        return kind()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(problem) for problem in error.errors())) from error


def load_settings_or_exit(kind: type[SettingsT]) -> SettingsT:
    """As `load_settings`, but a wrong value ends the process with the line on stderr and `EXIT_CONFIG`."""
    try:
        return load_settings(kind)
    except SettingsError as error:
        print(f"configuration: {error}", file=sys.stderr)
        sys.exit(EXIT_CONFIG)


_ALLOWED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
}


def _explain(problem: Any) -> str:
    said = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if not problem["loc"]:
        # A problem of several variables together says itself which; its input is all of them, secrets included.
        return said
    name = str(problem["loc"][0])
    was = f" was {problem['input']!r};" if name not in _SECRETS else ""
    return f"{name.upper()}:{was} allowed: {_ALLOWED.get(problem['type'], said)}"
