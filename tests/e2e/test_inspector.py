"""MCP Inspector's command line, in both eras of the protocol: what a developer looks at a hub with."""

import json
import secrets
from typing import Any

import pytest

from tests.support.processes import GatewayProcess
from tests.typescript import node

INSPECTOR = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
TOOL_FAILED = 5
"""Its exit status when the result of the tool has `isError`."""

eras = pytest.mark.parametrize("era", ["legacy", "modern"])


def inspect(hub: GatewayProcess, era: str, method: str, *arguments: str, status: int = 0) -> dict[str, Any]:
    """The result of a method."""
    url = f"{hub.http_url}?agent=inspector"
    options = ("--transport", "http", "--protocol-era", era, "--format", "json", "--quiet")
    done = node.run(INSPECTOR, "--cli", url, *options, "--method", method, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


@eras
def test_it_lists_the_tools_and_finds_their_schemas_fit_for_every_client(hub: GatewayProcess, era: str) -> None:
    listed = inspect(hub, era, "tools/list", "--strict")
    names = {tool["name"] for tool in listed["tools"]}
    assert {"route_to_agent", "share_context", "orchestrate_collaboration"} <= names


@eras
def test_it_shares_a_context_and_reads_it_as_a_resource(hub: GatewayProcess, era: str) -> None:
    key = f"inspected-{secrets.token_hex(3)}"
    arguments = json.dumps({"context_key": key, "context_value": {"seen": True}})
    shared = inspect(hub, era, "tools/call", "--tool-name", "share_context", "--tool-args-json", arguments)
    assert shared["structuredContent"]["version"] == 1
    [contents] = inspect(hub, era, "resources/read", "--uri", f"aicp://context/{key}")["contents"]
    assert json.loads(contents["text"])["value"] == {"seen": True}


@eras
def test_it_lists_the_resources_and_their_templates(hub: GatewayProcess, era: str) -> None:
    resources = inspect(hub, era, "resources/list")["resources"]
    assert "aicp://shared-state" in {resource["uri"] for resource in resources}
    templates = inspect(hub, era, "resources/templates/list")["resourceTemplates"]
    assert "aicp://context/{key}" in {template["uriTemplate"] for template in templates}


@eras
def test_it_shows_what_was_wrong_with_an_argument(hub: GatewayProcess, era: str) -> None:
    call = ("tools/call", "--tool-name", "get_task", "--tool-args-json", '{"task_id": 7}')
    result = inspect(hub, era, *call, status=TOOL_FAILED)
    assert result["isError"]
    assert "task_id" in result["content"][0]["text"]
