"""The orchestrator as a process: `python -m aicp_orchestrator`."""

from aicp_common import subjects
from aicp_common.service import Service, serve
from aicp_orchestrator.collaborations.prompts import declare_prompts
from aicp_orchestrator.collaborations.tools import declare_tools
from aicp_orchestrator.collaborations.worker import Worker
from aicp_orchestrator.router_client import ORCHESTRATOR, RouterClient
from aicp_orchestrator.settings import OrchestratorSettings

INSTRUCTIONS = """\
When a task needs several agents, at once or in turn, call orchestrate_collaboration.
Combine the parts that it returns into one answer for your user."""


def build(service: Service[OrchestratorSettings]) -> None:
    """Declare everything that one worker does."""
    router = RouterClient(service.bus)
    worker = Worker(router, service.bus, service.waiters, service.settings.max_collaborations)
    declare_tools(service, router)
    declare_prompts(service, router)
    service.hear(subjects.ANY_TASK)
    service.subscribe(subjects.agent("*", ORCHESTRATOR), worker.on_signal, shared=True)
    service.background("collaborations", worker.run)
    service.after_start(worker.listen)
    service.at_stop(worker.hand_over)


if __name__ == "__main__":
    serve("orchestrator", OrchestratorSettings, build, instructions=INSTRUCTIONS)
