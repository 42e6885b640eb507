"""The stage: a plug-in and a gateway for the tests, and what they counted themselves."""

import asyncio
import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import GatewayProcess, ServiceProcess


@dataclass(frozen=True)
class Stage:
    """Both of them."""

    plugin: ServiceProcess
    gateway: GatewayProcess

    def url(self, transport: str) -> str:
        """The endpoint for `websocket` or `http`."""
        return self.gateway.ws_url if transport == "websocket" else self.gateway.http_url

    def calls(self, tool: str) -> int:
        """How often the plug-in has answered this tool, well or not."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.plugin.admin_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(
            round(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "aicp_calls_total" and sample.labels["method"] == tool
        )

    async def until_called(self, tool: str, times: int) -> None:
        """Wait until the plug-in has answered this tool so often."""
        async with asyncio.timeout(30):
            while await asyncio.to_thread(self.calls, tool) < times:
                await asyncio.sleep(0.02)
