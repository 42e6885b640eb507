"""A state hub with every form of REDIS_URL that names one server: passwords, users, TLS, a socket file, a database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from aicp_common.bus import Bus
from aicp_common.settings import EXIT_CONFIG
from aicp_common.store import connect_redis
from tests.statehub.agent import Agent, stored_events
from tests.support.ordinary_life import ordinary_life, session, whole_hub
from tests.support.processes import Backend, ServiceProcess
from tests.support.redis_servers import SERVICE, client, redis_server, until
from tests.support.tls_proxy import Authority, tls_proxy

PASSWORD = "p@ss/w:rd#?%&, ü"
ACL = "+@all -@admin -@dangerous +client|id +client|tracking +client|setinfo +info +role"
"""What docs/configuration.md says that a user of its own needs."""

CONFIGURATION = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificate of Redis."""
    return Authority.make(tmp_path_factory.mktemp("authority"), "known")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[dict[str, str]]:
    """URLs of one Redis that wants a password or a user of its own, by what is special about them."""
    folder = tmp_path_factory.mktemp("secured")
    socket_file = folder / "redis.sock"
    with redis_server(folder, f"unixsocket {socket_file}") as port:
        with client(port) as redis:
            redis.acl_setuser("hub", enabled=True, passwords=[f"+{PASSWORD}"], keys=["aicp:*"], reset=True)
            redis.execute_command("ACL", "SETUSER", "hub", *ACL.split())  # type: ignore[no-untyped-call]
            redis.config_set("requirepass", PASSWORD)
        secret = quote(PASSWORD, safe="")
        with tls_proxy(port, authority.server_file()) as tls_port:
            yield {
                "password": f"redis://:{secret}@127.0.0.1:{port}",
                "user": f"redis://hub:{secret}@127.0.0.1:{port}/0",
                "database": f"redis://:{secret}@127.0.0.1:{port}/3",
                "socket": f"unix://hub:{secret}@{socket_file}?db=1",
                "tls": f"rediss://:{secret}@127.0.0.1:{tls_port}/0?ssl_ca_certs={authority.file}",
                "unchecked": f"rediss://:{secret}@127.0.0.1:{tls_port}/0?ssl_cert_reqs=none",
            }


@pytest.fixture
async def bus(own_nats: Backend) -> AsyncIterator[Bus]:
    """A connection to the NATS of this file."""
    connection = Bus(own_nats.nats_url, "tests")
    await connection.connect()
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def own_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS of this file; its Redis does not run."""
    running = Backend(tmp_path_factory.mktemp("nats"))
    running.nats.start()
    yield running
    running.nats.stop()


@contextlib.contextmanager
def state_hub(backend: Backend, redis_url: str) -> Iterator[ServiceProcess]:
    """A worker on that Redis, which ends well."""
    service = ServiceProcess("statehub", backend, {"REDIS_URL": redis_url}).start()
    try:
        yield service.wait()
    finally:
        status = service.stop()
    assert status == 0
    assert "Traceback" not in service.process.output()
    assert PASSWORD not in service.process.output()


async def works(backend: Backend, bus: Bus, tenant: str) -> None:
    """Contexts are written and read, large ones too, and their events are relayed."""
    alice = Agent(bus, tenant)
    assert (await alice.share("k", "x" * 200_000))["version"] == 1
    await asyncio.gather(*(alice.share("k", number) for number in range(50)))
    assert (await alice.get("k"))["version"] == 51
    versions = [event["data"]["version"] for event in await stored_events(backend.nats_url, tenant, 51)]
    assert versions == list(range(1, 52))


@pytest.mark.parametrize("form", ["password", "user", "database", "socket", "tls", "unchecked"])
async def test_it_works_with(form: str, own_nats: Backend, bus: Bus, secured: dict[str, str], tenant: str) -> None:
    with state_hub(own_nats, secured[form]):
        await works(own_nats, bus, tenant)


async def test_a_user_of_its_own_needs_no_other_rights_than_are_documented(
    own_nats: Backend, bus: Bus, secured: dict[str, str], tenant: str
) -> None:
    assert f"`~aicp:* {ACL}`" in CONFIGURATION.read_text(encoding="utf-8")
    with whole_hub(own_nats, {"REDIS_URL": secured["user"]}) as (gateway, said):
        await ordinary_life(bus, tenant)
        await session(gateway, bus)
    assert "NOPERM" not in said()
    admin = connect_redis(secured["password"])
    refused = await admin.execute_command("ACL", "LOG")  # type: ignore[no-untyped-call]
    await admin.aclose()
    assert refused == []


async def test_it_works_with_sentinel_over_tls(
    tmp_path: Path, own_nats: Backend, bus: Bus, authority: Authority, tenant: str
) -> None:
    certificate = authority.server_file()
    with contextlib.ExitStack() as stack:
        redis_port = stack.enter_context(redis_server(tmp_path / "redis"))
        # The sentinel and the services reach Redis at the same port: the one in plain text, the others over TLS.
        announced = stack.enter_context(tls_proxy(redis_port, certificate))
        lines = (f"sentinel monitor {SERVICE} 127.0.0.1 {announced} 1",)
        sentinel_port = stack.enter_context(redis_server(tmp_path / "sentinel", *lines, sentinel=True))
        places = f"127.0.0.1:{stack.enter_context(tls_proxy(sentinel_port, certificate))}"
        ca = f"ssl_ca_certs={authority.file}"
        with state_hub(own_nats, f"rediss+sentinel://{places}/{SERVICE}?{ca}"):
            await works(own_nats, bus, tenant)
        with state_hub(own_nats, f"rediss+sentinel://127.0.0.1:{sentinel_port}/{SERVICE}?{ca}&sentinel_ssl=false"):
            await works(own_nats, bus, f"{tenant}-2")


@pytest.mark.parametrize("stranger", ["authority", "address"])
def test_a_certificate_that_is_not_accepted_ends_the_start_and_is_named(
    stranger: str, tmp_path: Path, own_nats: Backend, authority: Authority
) -> None:
    other = Authority.make(tmp_path, "other")
    certificate = other.server_file() if stranger == "authority" else authority.server_file("127.0.0.9")
    with redis_server(tmp_path / "redis") as port, tls_proxy(port, certificate) as tls_port:
        url = f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={authority.file}"
        service = ServiceProcess("statehub", own_nats, {"REDIS_URL": url}).start()
        until(lambda: not service.process.running)
    assert service.stop() == 1
    said = service.process.output()
    assert "the certificate of Redis is not accepted: " in said
    assert ("unable to get local issuer certificate" if stranger == "authority" else "IP address mismatch") in said


def test_wrong_credentials_end_the_start_and_are_named(own_nats: Backend, secured: dict[str, str]) -> None:
    service = ServiceProcess("statehub", own_nats, {"REDIS_URL": secured["password"].replace(":p", ":q")}).start()
    until(lambda: not service.process.running)
    assert service.stop() == 1
    assert "Redis refuses the credentials of REDIS_URL" in service.process.output()


def test_a_file_that_cannot_be_read_ends_the_start_at_once(own_nats: Backend) -> None:
    url = "rediss://127.0.0.1/0?ssl_ca_certs=/nowhere/ca.pem"
    service = ServiceProcess("statehub", own_nats, {"REDIS_URL": url}).start()
    until(lambda: not service.process.running)
    assert service.stop() == EXIT_CONFIG
    assert "configuration: REDIS_URL: allowed: ssl_ options with files" in service.process.output()


def test_why_redis_does_not_answer_is_logged(own_nats: Backend, tmp_path: Path) -> None:
    service = ServiceProcess("statehub", own_nats, {"REDIS_URL": f"unix://{tmp_path}/none.sock"}).start()
    until(lambda: "Redis does not answer: " in service.process.output())
    assert "none.sock" in service.process.output()
    assert service.stop() == 0
