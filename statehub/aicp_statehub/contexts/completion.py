"""Completion: keys of contexts that could stand where somebody is typing one."""

from aicp_common.envelope import Envelope
from aicp_common.service import Service
from aicp_common.surface import MAX_COMPLETIONS, Complete
from aicp_statehub.contexts import lists
from aicp_statehub.contexts.keys import is_prefix
from aicp_statehub.contexts.resources import CONTEXT_TEMPLATE, SCOPE
from aicp_statehub.settings import StatehubSettings


def declare_completion(service: Service[StatehubSettings]) -> None:
    """Declare what completes the key in the template of contexts."""

    @service.completion
    async def complete(envelope: Envelope, wanted: Complete) -> list[str]:
        who, typed = envelope.principal, wanted.argument.value.strip()
        if wanted.ref.uri != CONTEXT_TEMPLATE or not who.may(SCOPE) or not is_prefix(typed):
            return []
        # One more than a client gets, so that it learns that there are more.
        page = await lists.list_page(
            service.redis, who.tenant, reader=who.agent, prefix=typed, limit=MAX_COMPLETIONS + 1
        )
        return [context.key for context in page.contexts]
