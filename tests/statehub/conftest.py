"""Agents on the shared state hub."""

import pytest

from aicp_common.bus import Bus
from tests.statehub.agent import Agent
from tests.support.processes import ServiceProcess


@pytest.fixture
def alice(bus: Bus, tenant: str, statehub: ServiceProcess) -> Agent:
    """An agent of this test's tenant."""
    return Agent(bus, tenant, "alice")


@pytest.fixture
def bob(bus: Bus, tenant: str, statehub: ServiceProcess) -> Agent:
    """Another agent of the same tenant."""
    return Agent(bus, tenant, "bob")
