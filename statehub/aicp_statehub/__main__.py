"""One worker of the state hub: `python -m aicp_statehub`."""

from collections.abc import Mapping

from aicp_common import subjects
from aicp_common.service import Service, serve
from aicp_statehub.contexts.completion import declare_completion
from aicp_statehub.contexts.expiry import Expiry
from aicp_statehub.contexts.keys import any_signal
from aicp_statehub.contexts.reading import ContextReading
from aicp_statehub.contexts.resources import declare_resources
from aicp_statehub.contexts.scripts import Bounds
from aicp_statehub.contexts.sharing import ContextSharing
from aicp_statehub.relay.relay import Relay
from aicp_statehub.settings import StatehubSettings

INSTRUCTIONS = (
    "Shared contexts are the memory that all agents of this network have in common. Look there (get_context) before "
    "asking others for what may be known already, and put there (share_context) what others will need."
)


def build(service: Service[StatehubSettings]) -> None:
    """Declare what the state hub does."""
    settings = service.settings
    bounds = Bounds(
        max_keys=settings.context_max_keys,
        max_bytes=settings.context_max_bytes,
        tombstone_ms=settings.context_tombstone_s * 1000,
        versions=settings.context_versions,
        history_bytes=settings.context_history_bytes,
        archived=bool(settings.postgres_url),
    )
    ContextSharing(service, bounds).declare()
    reading = ContextReading(service)
    reading.declare()
    declare_resources(service)
    declare_completion(service)

    expiry = Expiry(service, bounds)
    relay = Relay(service)

    def on_signal(subject: str, reply: str, said: bytes, headers: Mapping[str, str] | None) -> None:
        tenant = subject.split(".")[3]
        service.waiters.on_signal(subject, reply, said, headers)
        service.waiters.wake(any_signal(tenant))
        expiry.on_signal(tenant, said)
        relay.hint(tenant)

    service.hear(subjects.ANY_CONTEXT, on_signal)
    service.background("expiry", expiry.run)
    service.background("relay", relay.run)
    if settings.postgres_url:
        _declare_archive(service, reading)


def _declare_archive(service: Service[StatehubSettings], reading: ContextReading) -> None:
    # Its driver takes 0.1 s to load, which is only worth it where there is an archive.
    from aicp_statehub.archive.archive import Archive
    from aicp_statehub.archive.history import History
    from aicp_statehub.archive.tool import declare_history

    archive, history = Archive(service), History(service.settings.postgres_url)
    declare_history(service, history)
    reading.archive = history.version
    service.also_check(archive.check)
    service.background("archive", archive.run)
    service.background("history", history.run)


def main() -> None:
    """Run until told to stop."""
    serve("statehub", StatehubSettings, build, instructions=INSTRUCTIONS)


if __name__ == "__main__":
    main()
