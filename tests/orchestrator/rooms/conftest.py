"""Fixtures for tests of rooms."""

from collections.abc import Iterator

import pytest

from aicp_common.bus import Bus
from tests.conftest import running
from tests.orchestrator.rooms.circle import Circle
from tests.support.processes import Backend, ServiceProcess


@pytest.fixture
def circle(bus: Bus, tenant: str, orchestrator: ServiceProcess) -> Circle:
    """Agents of a tenant of this test's own, and an orchestrator that keeps their rooms."""
    return Circle(bus, tenant)


@pytest.fixture
def second_orchestrator(backend: Backend, orchestrator: ServiceProcess) -> Iterator[ServiceProcess]:
    """Another worker beside the shared one."""
    yield from running("orchestrator", backend)
