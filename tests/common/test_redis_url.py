"""REDIS_URL: what each form means, and what is said of one that is none."""

import socket

import pytest
from redis.asyncio import BlockingConnectionPool

from aicp.hub import command
from aicp.hub.exceptions import HubError
from aicp_common.errors import Unavailable
from aicp_common.redis_url import WrongUrl, checked_redis_url, parse_redis_url
from aicp_common.settings import Settings, SettingsError, load_settings
from aicp_common.store import Script, connect_redis
from tests.support.redis_servers import client, redis_server

SENTINELS = "127.0.0.1:1,localhost,[::1]:3"


@pytest.mark.parametrize(
    ("url", "hosts", "connection"),
    [
        ("redis://127.0.0.1:6379/0", [("127.0.0.1", 6379)], {"db": 0}),
        ("redis://redis.example", [("redis.example", 6379)], {}),
        ("redis://:p%40ss@[::1]:7/3", [("::1", 7)], {"password": "p@ss", "db": 3}),
        ("redis://al%2Fice:x:y@h", [("h", 6379)], {"username": "al/ice", "password": "x:y"}),
        ("redis://h?db=4&client_name=hub", [("h", 6379)], {"db": 4, "client_name": "hub"}),
        ("redis://", [("localhost", 6379)], {}),
        ("unix:///run/redis.sock?db=2", [], {"path": "/run/redis.sock", "db": 2}),
        ("unix://me:secret@/run/redis.sock", [], {"username": "me", "password": "secret"}),
    ],
)
def test_a_url_names_one_server(url: str, hosts: list[tuple[str, int]], connection: dict[str, object]) -> None:
    parsed = parse_redis_url(url)
    assert (list(parsed.hosts), parsed.service, parsed.tls) == (hosts, "", False)
    assert connection.items() <= parsed.connection.items()
    assert parsed.connection.get("db", 0) == connection.get("db", 0)


def test_a_url_names_sentinels() -> None:
    parsed = parse_redis_url(f"redis+sentinel://hub:x%2Cy@{SENTINELS}/my%20master/2?sentinel_password=s&client_name=c")
    assert parsed.hosts == (("127.0.0.1", 1), ("localhost", 26379), ("::1", 3))
    assert (parsed.service, parsed.tls) == ("my master", False)
    assert parsed.connection == {"username": "hub", "password": "x,y", "db": 2, "client_name": "c"}
    assert parsed.sentinel == {"password": "s"}


def test_with_tls_sentinels_are_spoken_to_over_tls_unless_said_otherwise() -> None:
    both = parse_redis_url(f"rediss+sentinel://{SENTINELS}/m?ssl_cert_reqs=none&ssl_check_hostname=false")
    assert both.tls
    assert both.connection == {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    assert both.sentinel.items() >= both.connection.items()
    assert parse_redis_url(f"rediss+sentinel://{SENTINELS}/m?sentinel_ssl=no").sentinel == {}


@pytest.mark.parametrize("url", ["redis://h", "unix:///x", f"redis+sentinel://{SENTINELS}/m", "rediss://h"])
async def test_calls_wait_for_their_turn_with_every_form(url: str) -> None:
    store = connect_redis(url, max_connections=3)
    assert isinstance(store.connection_pool, BlockingConnectionPool)
    assert (store.connection_pool.max_connections, store.connection_pool.timeout) == (3, 10)
    await store.aclose()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://h", "redis://[user:password@]host[:port][/db], rediss://"),
        ("redis:h", "redis://[user:password@]host"),
        ("", "redis://[user:password@]host"),
        ("redis://:hunter2@h:port", "redis://[user:password@]host"),
        ("redis://:hunter2/x@h", "special characters of a password as %40"),
        ("redis://:hunter2#x@h", "special characters of a password as %40"),
        ("redis://h:0", "redis://[user:password@]host"),
        ("redis://h:65536", "redis://[user:password@]host"),
        ("redis://[::1", "redis://[user:password@]host"),
        ("redis://h,i", "one host, or sentinels"),
        ("redis://h/x", "the number of a database at the end"),
        ("redis://h/1/2", "the number of a database at the end"),
        ("redis://h?db=x", "db=0, db=1 and so on"),
        ("redis://h?decode_responses=no", "client_name, db, password, username; not 'decode_responses'"),
        ("redis://h?ssl_ca_certs=x", "not 'ssl_ca_certs'"),
        ("unix://redis.sock", "the path of a socket"),
        ("redis+sentinel://h,i", "the name of the master after the sentinels"),
        ("redis+sentinel://h,i/m/x", "the number of a database at the end"),
        ("rediss://h?ssl_cert_reqs=perhaps", "ssl_cert_reqs: required, optional, none"),
        ("rediss://h?ssl_check_hostname=perhaps", "ssl_check_hostname=true or ssl_check_hostname=false"),
        ("rediss://h?ssl_ca_certs=/nowhere", "ssl_ options with files and ciphers that can be used, not: [Errno 2]"),
        ("rediss://h?ssl_ciphers=none-of-these", "ssl_ options with files and ciphers that can be used"),
    ],
)
def test_a_url_of_no_form_stops_the_start_with_what_is_allowed(
    url: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WrongUrl) as wrong:
        checked_redis_url(url)
    assert says in str(wrong.value)
    if url:
        monkeypatch.setenv("REDIS_URL", url)
        with pytest.raises(SettingsError) as line:
            load_settings(Settings)
        assert str(line.value) == f"REDIS_URL: allowed: {wrong.value}"
        assert "hunter2" not in str(line.value)


async def test_a_user_without_the_rights_is_told_which_one_is_missing(
    tmp_path_factory: pytest.TempPathFactory, tenant: str
) -> None:
    with redis_server(tmp_path_factory.mktemp("rights")) as port:
        with client(port) as redis:
            redis.acl_setuser("hub", enabled=True, passwords=["+x"], keys=["aicp:*"], categories=["+@read"], reset=True)
        store = connect_redis(f"redis://hub:x@127.0.0.1:{port}")
        with pytest.raises(Unavailable, match=r"the user of REDIS_URL.*NOPERM.*evalsha"):
            await Script([], "return 1")(store, tenant)
        await store.aclose()


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("redis://:a,b@h:1/0", [("h", 1)]),
        ("rediss://h", [("h", 6379)]),
        ("redis+sentinel://u:p@a,[::1]:2/hub/0", [("a", 26379), ("::1", 2)]),
        ("nats://a:1,nats://b:2", [("a", 1)]),
    ],
)
def test_the_launcher_knows_where_to_look(url: str, addresses: list[tuple[str, int]]) -> None:
    assert command._addresses(url) == addresses


async def test_the_launcher_is_content_with_one_sentinel_that_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_OUTSIDE_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        dead, alive = bound.getsockname()[1], listening.getsockname()[1]
        await command._reachable(f"redis+sentinel://127.0.0.1:{dead},127.0.0.1:{alive}/hub", "--redis-url")
        with pytest.raises(HubError, match=rf"nothing listens at 127.0.0.1:{dead} \(.*\); change --redis-url"):
            await command._reachable(f"redis+sentinel://127.0.0.1:{dead}/hub", "--redis-url")


def test_the_launcher_takes_every_form() -> None:
    for url in (f"redis+sentinel://{SENTINELS}/hub", "rediss+sentinel://a,b/hub/1", "unix:///run/redis.sock"):
        assert command._outside_url(url, "REDIS_URL", command._REDIS_SCHEMES, {}) == url
    with pytest.raises(HubError, match=r"redis\+sentinel://"):
        command._outside_url("http://h", "REDIS_URL", command._REDIS_SCHEMES, {})
