"""`REDIS_URL`: its forms, checked before anything connects, and the pool that each of them stands for."""

import re
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from aicp_common.masters import MasterConnection, Masters, MasterTLSConnection

REDIS_PORT = 6379
SENTINEL_PORT = 26379
CONNECT_S = 2.0
ANSWER_S = 10.0
SENTINEL_S = 1.0
"""For connecting to a sentinel, and for its answer: then the next one is asked."""

FORMS = (
    "redis://[user:password@]host[:port][/db]",
    "rediss://[user:password@]host[:port][/db]",
    "unix://[user:password@]/path[?db=number]",
    "redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]",
    "rediss+sentinel://[user:password@]host[:port],host[:port]/service[/db]",
)

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_ANYWHERE = {"db": int, "username": str, "password": str, "client_name": str}
_TLS = {
    "ssl_ca_certs": str,
    "ssl_ca_path": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_ciphers": str,
    "ssl_cert_reqs": ("required", "optional", "none"),
    "ssl_check_hostname": bool,
}
_SENTINEL = {"sentinel_username": str, "sentinel_password": str}
_SENTINEL_TLS = {"sentinel_ssl": bool}
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\[\]:/@,\s]+))(?::(?P<port>\d{1,5}))?")


class WrongUrl(ValueError):
    """A URL is none of the forms; the text says what is allowed, and nothing of the URL that may be secret."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says."""

    hosts: tuple[tuple[str, int], ...]
    """The server, or the sentinels; empty for a socket file."""
    service: str
    """The name under which sentinels know the master; empty without Sentinel."""
    tls: bool
    connection: dict[str, Any] = field(repr=False)
    """Options of a connection to Redis, in redis-py's words."""
    sentinel: dict[str, Any] = field(repr=False)
    """Options of a connection to a sentinel."""

    def pool(self, max_connections: int) -> "tuple[BlockingConnectionPool, Masters | None]":
        """Connections that wait for their turn, and what finds the master, which has to be closed too."""
        # The plain pool fails a command when every connection is in use; this one lets it wait for its turn.
        options: dict[str, Any] = {
            "max_connections": max_connections,
            "timeout": ANSWER_S,
            "decode_responses": True,
            "socket_connect_timeout": CONNECT_S,
            "socket_timeout": ANSWER_S,
            **_never_again(),
            **self.connection,
        }
        if not self.service:
            return BlockingConnectionPool(connection_class=self._connection_class(), **options), None
        masters = Masters([self._sentinel(host, port) for host, port in self.hosts], self.service)
        kind = MasterTLSConnection if self.tls else MasterConnection
        return BlockingConnectionPool(connection_class=kind, masters=masters, **options), masters

    def check_files(self) -> None:
        """Read the files that it names.

        Raises:
            WrongUrl: one of them cannot be used.
        """
        if not self.tls:
            return
        try:
            SSLConnection(**{name: value for name, value in self.connection.items() if name in _TLS}).ssl_context.get()
        except (OSError, RedisError, ValueError) as error:
            raise WrongUrl(f"ssl_ options with files and ciphers that can be used, not: {error}") from error

    def _connection_class(self) -> type[Connection] | type[UnixDomainSocketConnection]:
        if not self.hosts:
            return UnixDomainSocketConnection
        return SSLConnection if self.tls else Connection

    def _sentinel(self, host: str, port: int) -> Redis:
        options: dict[str, Any] = {
            "max_connections": 8,
            "timeout": ANSWER_S,
            "decode_responses": True,
            "socket_connect_timeout": SENTINEL_S,
            "socket_timeout": SENTINEL_S,
            **_never_again(),
            **self.sentinel,
        }
        return Redis.from_pool(BlockingConnectionPool(host=host, port=port, **options))


def _never_again() -> dict[str, Any]:
    """Options with which redis-py repeats nothing by itself: what was cut off may have been done."""
    return {
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        # With these (for a managed service that announces its maintenance) the pool hands out connections that the
        # server has closed, and after a restart of Redis the first call of each would fail.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def parse_redis_url(url: str) -> RedisUrl:
    """Read a URL.

    Raises:
        WrongUrl: it is none of `FORMS`, or says something that is not known.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise WrongUrl(_forms()) from None
    if parts.scheme not in _SCHEMES or not url.startswith(f"{parts.scheme}://") or parts.fragment:
        raise WrongUrl(_forms())
    tls, by_sentinel = parts.scheme.startswith("rediss"), parts.scheme.endswith("sentinel")
    said = _options(parts, tls=tls, by_sentinel=by_sentinel)
    user_info, _, places = parts.netloc.rpartition("@")
    username, _, password = user_info.partition(":")
    for name, value in (("username", unquote(username)), ("password", unquote(password))):
        if value:
            said.setdefault(name, value)

    sentinel: dict[str, Any] = {}
    for name in ("username", "password"):
        if f"sentinel_{name}" in said:
            sentinel[name] = said.pop(f"sentinel_{name}")
    if said.pop("sentinel_ssl", tls):
        sentinel["connection_class"] = SSLConnection
        sentinel.update({name: value for name, value in said.items() if name in _TLS})

    if parts.scheme == "unix":
        if places or not parts.path.strip("/"):
            raise WrongUrl(f"the path of a socket: {FORMS[2]}")
        return RedisUrl((), "", False, {**said, "path": unquote(parts.path)}, {})
    hosts = _hosts(places, SENTINEL_PORT if by_sentinel else REDIS_PORT)
    path = [unquote(part) for part in parts.path.strip("/").split("/") if part]
    service = ""
    if by_sentinel:
        if not path:
            raise WrongUrl(f"the name of the master after the sentinels: {FORMS[4 if tls else 3]}")
        service = path.pop(0)
    elif len(hosts) > 1:
        raise WrongUrl(f"one host, or sentinels: {', '.join(FORMS)}")
    if len(path) > 1 or (path and not path[0].isdecimal()):
        raise WrongUrl(f"the number of a database at the end: {', '.join(FORMS)}")
    if path:
        said.setdefault("db", int(path[0]))
    if not by_sentinel:
        said["host"], said["port"] = hosts[0]
    return RedisUrl(hosts, service, tls, said, sentinel)


def checked_redis_url(url: str) -> str:
    """The URL, if it and the files that it names can be used.

    Raises:
        WrongUrl: not so.
    """
    parse_redis_url(url).check_files()
    return url


def _forms() -> str:
    return f"{', '.join(FORMS)}; special characters of a password as %40, %2F and so on"


def _hosts(places: str, default_port: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for place in places.split(","):
        # Without a host it is this machine, as everywhere with Redis.
        match = _HOST.fullmatch(f"localhost{place}" if not place or place.startswith(":") else place)
        if match is None or not 0 < int(match["port"] or default_port) < 65536:
            raise WrongUrl(_forms())
        hosts.append((unquote(match["v6"] or match["name"]), int(match["port"] or default_port)))
    return tuple(hosts)


def _options(parts: SplitResult, *, tls: bool, by_sentinel: bool) -> dict[str, Any]:
    known: dict[str, Any] = dict(_ANYWHERE)
    if tls:
        known |= _TLS
    if by_sentinel:
        known |= _SENTINEL
        if tls:
            known |= _SENTINEL_TLS
    said: dict[str, Any] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise WrongUrl(f"after the question mark of {parts.scheme}://: {', '.join(sorted(known))}; not {name!r}")
        said[name] = _value(name, text, known[name])
    return said


def _value(name: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text.lower() not in _BOOLS:
            raise WrongUrl(f"{name}=true or {name}=false")
        return _BOOLS[text.lower()]
    if kind is int:
        if not text.isdecimal():
            raise WrongUrl(f"{name}=0, {name}=1 and so on")
        return int(text)
    if isinstance(kind, tuple) and text not in kind:
        raise WrongUrl(f"{name}: {', '.join(kind)}")
    return text


def certificate_fault(error: BaseException) -> str:
    """What is wrong with the certificate of Redis, if that is what `error` comes from; otherwise nothing."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message or str(cause)
        cause = cause.__cause__ or cause.__context__
    return ""
