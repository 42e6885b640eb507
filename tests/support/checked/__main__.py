"""Runs one gateway that is checked: `python -m tests.support.checked`."""

import runpy
import sys
from unittest import mock

from uvicorn.server import ServerState

from aicp_common.admin import Admin
from aicp_common.errors import AicpError
from aicp_gateway import app, websocket
from aicp_gateway.hub import Hub
from tests.support.checked.app import Checked
from tests.support.checked.report import EXIT_VIOLATION, Report
from tests.support.checked.websocket import OverheardConnection


def main() -> None:
    """Run the gateway as its own module does, and tell by the exit status what it said."""
    report = Report.from_environment()
    plain = app.App

    def checked(hub: Hub, admin: Admin) -> Checked:
        async def revision_of(session_id: str) -> str | None:
            try:
                return (await hub.sessions.find(session_id)).agreed.revision
            except AicpError:
                return None

        return Checked(plain(hub, admin), report, revision_of)

    try:

        def overheard(hub: Hub, server_state: ServerState) -> OverheardConnection:
            return OverheardConnection(hub, server_state, report)

        with mock.patch.object(app, "App", checked), mock.patch.object(websocket, "WebSocketConnection", overheard):
            runpy.run_module("aicp_gateway", run_name="__main__", alter_sys=True)
    finally:
        if report.violations:
            sys.exit(EXIT_VIOLATION)


if __name__ == "__main__":
    main()
