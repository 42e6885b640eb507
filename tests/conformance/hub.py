"""What the suite talks to: NATS, Redis, the fixture and a gateway, started for it and ended with it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.fixture import NAME
from tests.support.processes import Backend, GatewayProcess, ServiceProcess


@contextlib.contextmanager
def conformance_hub(folder: Path) -> Iterator[GatewayProcess]:
    """A real gateway with nothing but the fixture behind it; data and logs lie in `folder`."""
    with contextlib.ExitStack() as running:
        backend = Backend(folder)
        running.callback(backend.stop)
        backend.start()
        fixture = ServiceProcess(NAME, backend, module="tests.conformance.fixture")
        gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": NAME})
        running.callback(fixture.stop)
        fixture.start()
        running.callback(gateway.stop)
        gateway.start()
        fixture.wait()
        gateway.wait()
        yield gateway
