"""The whole load test, as a process, against real gateways; its figures beside what the other side counted."""

import asyncio
import json
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from aicp_common.errors import Busy, Unavailable
from tests.gateway.client import RawClient
from tests.gateway.conftest import SECRET, plugin_and_gateway, token
from tests.load.stage import Stage
from tests.load.tinyserver import TinyServer, result_answer, stateless_hub
from tests.support.processes import Backend, GatewayProcess, ServiceProcess, free_port

SCRIPT = Path(__file__).parents[1] / "load_test.py"
TRANSPORTS = pytest.mark.parametrize("transport", ["websocket", "http"])
PERCENTILES = ("min", "p50", "p90", "p99", "p99_9", "max")


class LoadTest:
    """One load test that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, *arguments: str, env: dict[str, str] | None = None) -> "LoadTest":
        """Start it; its report goes to standard output as JSON."""
        environment = {**os.environ, "AICP_TOKEN": "", **(env or {})}
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, str(SCRIPT), "--json", "-", *arguments, stdout=pipe, stderr=pipe, env=environment
            )
        )

    async def end(self) -> tuple[int | None, Any, str]:
        """Its exit status, its report (None without) and what it said beside."""
        try:
            async with asyncio.timeout(90):
                out, err = await self.process.communicate()
        except TimeoutError:
            self.process.kill()
            raise
        return self.process.returncode, json.loads(out) if out else None, err.decode()


async def load_test(*arguments: str, env: dict[str, str] | None = None) -> tuple[int | None, Any, str]:
    """Run one from begin to end."""
    return await (await LoadTest.start(*arguments, env=env)).end()


@TRANSPORTS
@pytest.mark.parametrize("pace", [["--connections", "3", "--in-flight", "2"], ["--rate", "150"]])
async def test_it_counts_what_the_other_side_counts(stage: Stage, transport: str, pace: list[str]) -> None:
    before = stage.calls("echo")
    status, report, said = await load_test(
        *("--url", stage.url(transport), "--mix", "echo=2,list_tools=1", "--warm-up", "0", "--duration", "2", *pace)
    )
    assert status == 0, said
    echo, lists, total = report["calls"]["echo"], report["calls"]["list_tools"], report["total"]
    assert echo["count"] == stage.calls("echo") - before > 0
    assert total["count"] == echo["count"] + lists["count"]
    assert abs(echo["count"] - 2 * lists["count"]) <= 30 * 2
    assert (total["error_count"], report["reconnects"], report["unfinished"], report["unsent"]) == (0, 0, 0, 0)
    for row in (echo, lists, total):
        times = [row["latency_ms"][name] for name in PERCENTILES]
        assert times == sorted(times)
        assert times[0] <= row["latency_ms"]["mean"] <= times[-1]
    # Of what was counted, all but the calls that were under way at the end ended within the time that is measured.
    assert report["measured_s"] == 2
    in_flight = report["load"]["connections"] * report["load"]["in_flight"]
    assert 0 <= total["count"] - total["per_second"] * 2 <= in_flight
    assert sum(second["count"] for second in report["seconds"]) == total["count"]


@TRANSPORTS
async def test_latency_and_throughput_are_those_of_a_tool_whose_time_is_known(stage: Stage, transport: str) -> None:
    status, report, said = await load_test(
        *("--url", stage.url(transport), "--tool", "sleep", "--arguments", '{"seconds": 0.25}'),
        *("--connections", "2", "--in-flight", "2", "--warm-up", "0.3", "--duration", "2"),
    )
    assert status == 0, said
    row = report["calls"]["tool"]
    assert row["latency_ms"]["min"] >= 250
    # Four at once, each for a quarter of a second: never more than 16 a second, and 4 that began before.
    assert 4 <= row["per_second"] <= 18
    assert row["count"] <= 16 * 2 + 4
    assert report["warm_up"]["count"] > 0


async def test_a_hub_that_stands_still_delays_every_call_that_should_have_been_made(own_backend: Backend) -> None:
    with plugin_and_gateway(own_backend) as (plugin, gateway):
        stage = Stage(plugin, gateway)
        arguments = ("--url", gateway.ws_url, "--mix", "echo", "--connections", "2", "--in-flight", "1")

        async def stalled(*pace: str) -> Any:
            before = stage.calls("echo")
            run = await LoadTest.start(*arguments, *pace, "--warm-up", "0", "--duration", "5")
            await stage.until_called("echo", before + 10)
            assert gateway.process.popen is not None
            gateway.process.popen.send_signal(signal.SIGSTOP)
            try:
                # How long it stands still is what is measured here.
                await asyncio.sleep(1.5)
            finally:
                gateway.process.popen.send_signal(signal.SIGCONT)
            status, report, said = await run.end()
            assert status == 0, said
            return report

        open_loop, closed_loop = await stalled("--rate", "50"), await stalled()
    # Almost a third of the calls should have been made in that time; two were under way.
    assert open_loop["total"]["count"] + open_loop["unsent"] == 250
    assert open_loop["total"]["latency_ms"]["max"] >= 1400
    assert open_loop["total"]["latency_ms"]["p90"] >= 500
    assert closed_loop["total"]["latency_ms"]["max"] >= 1400
    assert closed_loop["total"]["latency_ms"]["p90"] < 500


async def test_calls_that_a_rate_brings_and_nobody_could_make_are_told(stage: Stage) -> None:
    status, report, said = await load_test(
        *("--url", stage.url("websocket"), "--tool", "sleep", "--arguments", '{"seconds": 0.5}'),
        *("--connections", "1", "--in-flight", "1", "--rate", "20", "--duration", "2"),
    )
    assert status == 0, said
    assert report["calls"]["tool"]["count"] + report["unsent"] == 40
    assert report["unsent"] >= 30
    assert report["total"]["latency_ms"]["max"] >= 1000
    assert "The rate was not reached" in said


async def test_a_rate_makes_exactly_the_calls_that_it_says_whatever_the_warm_up(stage: Stage) -> None:
    status, report, said = await load_test(
        *("--url", stage.url("websocket"), "--mix", "ping", "--rate", "200", "--duration", "1.5", "--warm-up", "0.5")
    )
    assert status == 0, said
    assert report["total"]["count"] + report["unsent"] == 300
    assert report["warm_up"]["count"] <= 100


@TRANSPORTS
@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        (["--tool", "crash"], "tool:internal", "fixture failed in crash"),
        (["--tool", "no_such_tool"], "-32602", "unknown tool 'no_such_tool'"),
        (["--tool", "echo"], "tool:invalid_argument", "text"),
    ],
)
async def test_errors_have_codes_and_are_no_throughput(
    stage: Stage, transport: str, call: list[str], code: str, message: str
) -> None:
    before = stage.calls(call[1])
    status, report, said = await load_test(
        *("--url", stage.url(transport), *call, "--connections", "2", "--duration", "0.5", "--warm-up", "0")
    )
    assert status == 1
    assert list(report["total"]["errors"]) == [code]
    error = report["calls"]["tool"]["errors"][code]
    assert error["count"] == report["total"]["error_count"] > 0
    assert message in error["message"]
    if code != "-32602":
        assert error["count"] == stage.calls(call[1]) - before
    assert (report["total"]["count"], report["total"]["per_second"], report["total"]["latency_ms"]["p50"]) == (
        0,
        0,
        None,
    )
    assert f"tool {code}" in said


async def test_more_in_flight_than_the_gateway_takes_is_an_error_of_its_own(stage: Stage) -> None:
    status, report, _ = await load_test(
        *("--url", stage.url("websocket"), "--tool", "sleep", "--arguments", '{"seconds": 0.3}'),
        *("--connections", "1", "--in-flight", "70", "--duration", "0.5", "--warm-up", "0"),
    )
    assert status == 1
    assert list(report["total"]["errors"]) == [str(Busy.jsonrpc_code)]
    assert report["total"]["count"] >= 64


@TRANSPORTS
async def test_a_gateway_that_was_killed_costs_errors_and_reconnects(own_backend: Backend, transport: str) -> None:
    with plugin_and_gateway(own_backend) as (plugin, gateway):
        stage = Stage(plugin, gateway)
        run = await LoadTest.start(
            *("--url", stage.url(transport), "--mix", "echo", "--connections", "2", "--warm-up", "0"),
            *("--duration", "300"),
        )
        await stage.until_called("echo", 20)
        gateway.kill()
        await asyncio.to_thread(lambda: gateway.start().wait())
        again = stage.calls("echo")
        await stage.until_called("echo", again + 20)
        run.process.send_signal(signal.SIGTERM)
        status, report, said = await run.end()
    assert status == 1, said
    assert set(report["total"]["errors"]) <= {"connection_lost", "connect_failed", str(Unavailable.jsonrpc_code)}
    assert "connection_lost" in report["total"]["errors"]
    assert report["reconnects"] >= 1
    assert report["total"]["count"] >= 40
    assert f"{report['reconnects']} reconnects" in said


async def test_the_report_has_the_documented_form(stage: Stage) -> None:
    _, report, _ = await load_test(
        *("--url", stage.url("http"), "--mix", "ping", "--duration", "1", "--connections", "1", "--warm-up", "0.1")
    )
    assert set(report) == {
        *("format", "url", "transport", "era", "revision", "started", "load", "measured_s", "interrupted", "total"),
        *("calls", "worker_calls", "warm_up", "reconnects", "unsent", "unfinished", "client_cpu", "seconds"),
    }
    assert (report["format"], report["transport"], report["era"], report["revision"]) == (
        1,
        "http",
        "handshake",
        "2025-11-25",
    )
    assert report["load"] == {
        "connections": 1,
        "in_flight": 4,
        "rate": None,
        "duration_s": 1.0,
        "timeout_s": 60.0,
        "mix": {"ping": 1},
        "workers": 0,
        "payload_bytes": 200,
        "tool": "",
        "arguments": {},
    }
    assert set(report["total"]) == {"count", "per_second", "latency_ms", "error_count", "errors"}
    assert set(report["total"]["latency_ms"]) == {"min", "mean", "p50", "p90", "p99", "p99_9", "max"}
    assert set(report["warm_up"]) == {"duration_s", "count", "error_count", "errors"}
    assert set(report["seconds"][0]) == {"at_s", "count", "per_second", "p50_ms", "p99_ms", "errors"}
    assert 0 < report["client_cpu"] < 2


async def test_the_report_also_goes_into_a_file_and_the_table_to_standard_output(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    arguments = ("--url", stage.url("websocket"), "--mix", "ping", "--duration", "0.3", "--json", str(file))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err) == (0, b"")
    count = json.loads(file.read_bytes())["total"]["count"]
    total = next(line for line in out.decode().splitlines() if line.startswith("total"))
    assert total.split()[1] == f"{count:,}"


async def test_nobody_listening_has_a_status_of_its_own() -> None:
    status, report, said = await load_test("--url", f"ws://127.0.0.1:{free_port()}/mcp")
    assert (status, report) == (3, None)
    assert "cannot be used" in said


async def test_a_hub_in_another_era_has_that_status_too() -> None:
    async with TinyServer.run(stateless_hub) as server:
        status, _, said = await load_test("--url", server.url, "--era", "handshake")
    assert status == 3
    assert "-32602" in said


async def test_too_many_connections_for_the_system_are_wrong_options() -> None:
    command = f"ulimit -n 100; exec {sys.executable} {SCRIPT} --connections 200"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert b"the system allows 100" in err


async def test_an_interruption_ends_early_with_what_was_measured(stage: Stage) -> None:
    before = stage.calls("echo")
    run = await LoadTest.start("--url", stage.url("websocket"), "--mix", "echo", "--warm-up", "0", "--duration", "600")
    await stage.until_called("echo", before + 50)
    run.process.send_signal(signal.SIGINT)
    status, report, said = await run.end()
    assert status == 0, said
    assert report["interrupted"]
    assert 0 < report["measured_s"] < 60
    assert report["total"]["count"] >= 40
    assert "interrupted" in said


async def test_it_sends_nothing_to_a_proxy(stage: Stage) -> None:
    async with TinyServer.run(stateless_hub) as proxy:
        names = (
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "WS_PROXY",
            "WSS_PROXY",
            "http_proxy",
            "all_proxy",
            "ws_proxy",
        )
        env = {**dict.fromkeys(names, proxy.url), "NO_PROXY": "", "no_proxy": ""}
        for transport in ("websocket", "http"):
            status, report, said = await load_test(
                "--url", stage.url(transport), "--mix", "ping", "--duration", "0.2", "--warm-up", "0", env=env
            )
            assert (status, report["total"]["count"] > 0) == (0, True), said
    assert proxy.connections == 0


@TRANSPORTS
async def test_the_stateless_era_against_a_gateway(stage: Stage, transport: str) -> None:
    before = stage.calls("echo")
    status, report, said = await load_test(
        *("--url", stage.url(transport), "--era", "stateless", "--mix", "echo,discover,list_tools,list_resources"),
        *("--duration", "1", "--warm-up", "0", "--connections", "2"),
    )
    assert status == 0, said
    assert report["revision"] == "2026-07-28"
    assert report["calls"]["echo"]["count"] == stage.calls("echo") - before > 0
    assert all(row["count"] > 0 for row in report["calls"].values())


async def test_the_stateless_era_against_a_server_that_goes_by_the_letter() -> None:
    async with TinyServer.run(stateless_hub) as server:
        status, report, said = await load_test(
            *("--url", server.url, "--era", "stateless", "--mix", "echo,discover,list_tools,tool", "--tool", "질문"),
            *("--duration", "1", "--warm-up", "0", "--connections", "2"),
        )
        asked = len(server.requests)
    assert status == 1, said
    assert list(report["total"]["errors"]) == ["result:input_required"]
    assert report["calls"]["tool"]["error_count"] == report["total"]["error_count"]
    # And each client has asked once what the server speaks.
    assert asked == report["total"]["count"] + report["total"]["error_count"] + 2


@TRANSPORTS
async def test_the_default_mix_works_and_leaves_nothing_behind(hub: GatewayProcess, transport: str) -> None:
    url = hub.ws_url if transport == "websocket" else hub.http_url
    status, report, said = await load_test("--url", url, "--duration", "2", "--connections", "4", "--warm-up", "0")
    assert status == 0, said
    assert set(report["calls"]) == {"list_agents", "share_context", "get_context", "route"}
    assert all(row["count"] > 0 for row in report["calls"].values())
    assert report["worker_calls"]["submit_result"]["count"] == report["calls"]["route"]["count"]
    async with RawClient.connect(hub.ws_url, f"looks-{secrets.token_hex(3)}") as client:
        await client.initialize()
        agents = (await client.call("list_agents", limit=200))["agents"]
        assert [agent["agent"] for agent in agents if agent["agent"].startswith("load")] == []
        assert (await client.call("get_context", prefix="load-test/"))["entries"] == []


async def test_with_tokens_the_workers_are_another_agent(
    backend: Backend, router: ServiceProcess, tmp_path: Path
) -> None:
    gateway = GatewayProcess(
        backend, {"REQUIRED_SERVICES": "router,statehub", "JWT_REQUIRED": "true", "JWT_SECRET": SECRET}
    )
    tenant = f"t-{secrets.token_hex(4)}"
    for name in ("alice", "bob"):
        (tmp_path / name).write_text(token(sub=name, tenant=tenant) + "\n")
    arguments = ("--url", gateway.ws_url, "--duration", "1", "--warm-up", "0", "--connections", "2")
    mine, theirs = ("--token-file", str(tmp_path / "alice")), ("--worker-token-file", str(tmp_path / "bob"))
    gateway.start().wait()
    try:
        status, report, said = await load_test(*arguments, *mine, *theirs)
        assert status == 0, said
        assert report["calls"]["route"]["count"] > 0
        status, report, said = await load_test(*arguments, env={"AICP_TOKEN": token(sub="alice", tenant=tenant)})
        assert status == 0, said
        assert set(report["calls"]) == {"list_agents", "share_context", "get_context"}
        assert "the mix has no 'route'" in said
        status, _, said = await load_test(*arguments, *mine, *("--worker-token-file", str(tmp_path / "alice")))
        assert (status, "needs two agents" in said) == (2, True)
        for url in (gateway.ws_url, gateway.http_url):
            for connections in ("1", "200"):
                status, _, said = await load_test("--url", url, "--connections", connections)
                begins = f"load test: {url} cannot be used: a token is needed; "
                assert (status, said.startswith(begins), said.endswith("(401)\n"), said.count("\n")) == (
                    3,
                    True,
                    True,
                    1,
                )
    finally:
        assert gateway.stop() == 0


async def test_a_call_without_an_answer_ends_as_a_timeout() -> None:
    async def deaf(request: Any) -> list[bytes]:
        if request.called == "tools/call":
            await asyncio.Event().wait()
        return [result_answer(request, {})]

    async with TinyServer.run(deaf) as server:
        status, report, said = await load_test(
            *("--url", server.url, "--era", "stateless", "--mix", "echo", "--timeout", "0.5", "--duration", "0.4"),
            *("--connections", "2", "--in-flight", "1", "--warm-up", "0"),
        )
    assert status == 1, said
    assert report["total"]["errors"]["timeout"]["count"] == 2
    assert report["unfinished"] == 0
