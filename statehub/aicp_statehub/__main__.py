"""One worker of the state hub: `python -m aicp_statehub`."""

from nats.aio.msg import Msg

from aicp_common import subjects
from aicp_common.service import Service, serve
from aicp_statehub.completion import declare_completion
from aicp_statehub.contexts import Bounds
from aicp_statehub.expiry import Expiry
from aicp_statehub.relay import Relay
from aicp_statehub.resources import declare_resources
from aicp_statehub.settings import StatehubSettings
from aicp_statehub.tools import ContextTools

INSTRUCTIONS = (
    "Shared contexts are the memory that all agents of this network have in common. Look there (get_context) before "
    "asking others for what may be known already, and put there (share_context) what others will need."
)


def build(service: Service[StatehubSettings]) -> None:
    """Declare what the state hub does."""
    settings = service.settings
    bounds = Bounds(settings.context_max_keys, settings.context_tombstone_s * 1000)
    ContextTools(service, bounds).declare()
    declare_resources(service)
    declare_completion(service)

    expiry = Expiry(service, bounds)
    relay = Relay(service)

    async def on_signal(message: Msg) -> None:
        service.waiters.on_signal(message.subject, message.reply, message.data, message.headers)
        await expiry.on_signal(message)
        relay.hint(message.subject.split(".")[3])

    service.subscribe(subjects.ANY_CONTEXT, on_signal)
    service.background("expiry", expiry.run)
    service.background("relay", relay.run)


def main() -> None:
    """Run until told to stop."""
    serve("statehub", StatehubSettings, build, instructions=INSTRUCTIONS)


if __name__ == "__main__":
    main()
