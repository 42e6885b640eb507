"""The router as a process: `python -m aicp_router`."""

from aicp_common import subjects
from aicp_common.service import Service, serve
from aicp_router.agents.registry import Registry
from aicp_router.settings import RouterSettings
from aicp_router.surface import (
    agent_tools,
    completion,
    handles,
    hub_methods,
    prompts,
    request_tools,
    resources,
    work_tools,
)
from aicp_router.tasks.dispatch import Dispatch
from aicp_router.tasks.sweep import Sweep

INSTRUCTIONS = """\
Call register_agent once to say what you can do: you are one agent in a network of agents, each a person with their \
LLM. Hand work to whoever fits best with route_to_agent; get_task brings results that took longer, and questions that \
answer_task answers. To work for others, call receive_tasks with wait_s, do the task, and hand in submit_result with \
its task_id and attempt. A line that begins with "inbox:" at the end of a result says that tasks wait for you. \
leave_network takes you off the list."""


def build(service: Service[RouterSettings]) -> None:
    """Declare everything that one worker does."""
    registry = Registry(service.redis, service.tenants, service.settings)
    dispatch = Dispatch(service, registry)
    agent_tools.declare(service, dispatch)
    request_tools.declare(service, dispatch)
    work_tools.declare(service, dispatch)
    hub_methods.declare(service, dispatch)
    handles.declare(service, dispatch)
    resources.declare(service, dispatch)
    prompts.declare(service, dispatch.registry)
    completion.declare(service, dispatch)
    service.hear(subjects.ANY_TASK)
    service.hear(subjects.ANY_AGENT)
    service.subscribe(subjects.PRESENCE, registry.on_presence, shared=True)
    service.background("sweep", Sweep(dispatch, service.tenants).run)


if __name__ == "__main__":
    serve("router", RouterSettings, build, instructions=INSTRUCTIONS)
