"""The real gateway with the check inside: a process that tells in every way it can what it said wrong."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.checked.liar import FALSE, NAME, TRUE
from tests.checked.stage import request, stateless
from tests.gateway.client import RawClient
from tests.support.checked.report import EXIT_VIOLATION
from tests.support.processes import Backend, GatewayProcess, ServiceProcess


class CheckedGateway(GatewayProcess):
    """A gateway with the check inside, and a report of its own."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self.report = folder / f"report-{secrets.token_hex(4)}"
        settings = {"REQUIRED_SERVICES": NAME, "CHECKED_REPORT": str(self.report)}
        super().__init__(backend, settings, module="tests.support.checked")

    def violations(self) -> list[str]:
        """The lines of the report."""
        return self.report.read_text().splitlines() if self.report.exists() else []


@pytest.fixture(scope="module")
def liar(backend: Backend) -> Iterator[ServiceProcess]:
    service = ServiceProcess(NAME, backend, module="tests.checked.liar")
    service.start().wait()
    yield service
    assert service.stop() == 0, service.process.output()[-4000:]


@pytest.fixture
def gateways(backend: Backend, liar: ServiceProcess, tmp_path: Path) -> Iterator[tuple[CheckedGateway, CheckedGateway]]:
    """Two of them; what a test does not end itself is ended."""
    first, second = CheckedGateway(backend, tmp_path), CheckedGateway(backend, tmp_path)
    first.start()
    second.start()
    first.wait()
    second.wait()
    yield first, second
    first.stop()
    second.stop()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    accept = {"accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(timeout=30, trust_env=False, headers=accept) as client:
        yield client


async def begin(http: httpx.AsyncClient, gateway: GatewayProcess, revision: str) -> dict[str, str]:
    """The handshake; the header with the session."""
    info = {"name": "stage", "version": "1"}
    asked = request(0, "initialize", protocolVersion=revision, capabilities={}, clientInfo=info)
    answer = await http.post(gateway.http_url, json=asked)
    return {"mcp-session-id": answer.headers["mcp-session-id"]}


def read(uri: str) -> dict[str, Any]:
    return request(1, "resources/read", uri=uri)


async def test_a_gateway_that_says_nothing_wrong_ends_as_usual(
    gateways: tuple[CheckedGateway, CheckedGateway], http: httpx.AsyncClient
) -> None:
    gateway, _ = gateways
    async with RawClient.connect(gateway.ws_url) as client:
        await client.send("rubbish")
        assert "error" in await client.orphans.get()
        await client.initialize("2025-06-18")
        for method in ("ping", "tools/list", "resources/list", "resources/templates/list", "prompts/list", "no/such"):
            await client.request(method)
        assert "result" in await client.request("resources/read", {"uri": TRUE})
        assert "error" in await client.request("resources/read", {"uri": "liar:"})
    session = await begin(http, gateway, "2025-11-25")
    assert "result" in (await http.post(gateway.http_url, json=read(TRUE), headers=session)).text
    assert (await http.post(gateway.http_url, content=b"rubbish", headers=session)).status_code >= 400
    assert (await http.delete(gateway.http_url, headers=session)).is_success
    assert (await http.post(gateway.http_url, json=read(TRUE), headers=session)).status_code == 404
    for asked in (stateless(1, "server/discover"), stateless(2, "tools/list"), stateless(3, "ping")):
        named = {"mcp-protocol-version": "2026-07-28", "mcp-method": asked["method"]}
        await http.post(gateway.http_url, json=asked, headers=named)
    assert gateway.violations() == []
    assert gateway.stop() == 0


async def test_what_a_service_makes_wrong_is_told_at_once_and_by_the_exit_status(
    gateways: tuple[CheckedGateway, CheckedGateway], http: httpx.AsyncClient
) -> None:
    gateway, _ = gateways
    async with RawClient.connect(gateway.ws_url) as client:
        await client.initialize("2025-06-18")
        await client.request("resources/read", {"uri": FALSE})
        (line,) = gateway.violations()
    assert line.startswith("violation: 2025-06-18 resources/read: result of resources/read: result.contents.0.")
    session = await begin(http, gateway, "2024-11-05")
    await http.post(gateway.http_url, json=read(FALSE), headers=session)
    assert gateway.violations()[1].startswith("violation: 2024-11-05 resources/read: ")
    named = {"mcp-protocol-version": "2026-07-28", "mcp-method": "resources/read", "mcp-name": FALSE}
    await http.post(gateway.http_url, json=stateless(1, "resources/read", uri=FALSE), headers=named)
    assert gateway.violations()[2].startswith("violation: 2026-07-28 resources/read: ")
    assert line in gateway.process.output()
    assert gateway.stop() == EXIT_VIOLATION


async def test_a_killed_gateway_leaves_its_report(gateways: tuple[CheckedGateway, CheckedGateway]) -> None:
    gateway, _ = gateways
    async with RawClient.connect(gateway.ws_url) as client:
        await client.initialize()
        await client.request("resources/read", {"uri": FALSE})
        gateway.kill()
    assert len(gateway.violations()) == 1


async def test_a_session_that_began_at_another_gateway_keeps_its_revision(
    gateways: tuple[CheckedGateway, CheckedGateway], http: httpx.AsyncClient
) -> None:
    first, second = gateways
    session = await begin(http, first, "2025-06-18")
    await http.post(second.http_url, json=read(FALSE), headers=session)
    assert first.violations() == []
    assert second.violations()[0].startswith("violation: 2025-06-18 resources/read: ")
    assert first.stop() == 0
    assert second.stop() == EXIT_VIOLATION
