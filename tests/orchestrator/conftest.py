"""Fixtures for tests of the orchestrator."""

import pytest

from aicp_common.bus import Bus
from tests.orchestrator.network import Network
from tests.support.processes import ServiceProcess


@pytest.fixture
def network(bus: Bus, tenant: str, orchestrator: ServiceProcess) -> Network:
    """Agents of a tenant of this test's own, and an orchestrator that serves them."""
    return Network(bus, tenant)
