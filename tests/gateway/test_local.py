"""What only this machine may look at."""

import pytest

from aicp_common.errors import Forbidden
from aicp_gateway.identity import Facts, Identity
from aicp_gateway.settings import GatewaySettings

LOCKED = GatewaySettings(jwt_required=True, jwt_secret="a secret that is long enough for a test")


@pytest.mark.parametrize("settings", [GatewaySettings(), LOCKED], ids=["open", "locked"])
@pytest.mark.parametrize(
    ("address", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1:8080", True),
        ("127.0.0.5", "localhost", True),
        ("::1", "[::1]:8080", True),
        ("192.0.2.7", "localhost", False),
        ("127.0.0.1", "hub.example.com", False),
        ("", "localhost", False),
    ],
)
def test_figures_are_for_this_machine_alone(settings: GatewaySettings, address: str, host: str, allowed: bool) -> None:
    facts = Facts({"host": host}, "", address)
    if allowed:
        Identity(settings).check_local(facts)
    else:
        with pytest.raises(Forbidden):
            Identity(settings).check_local(facts)
