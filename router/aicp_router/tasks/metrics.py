"""What the router counts: tasks, by what happened to them. Over all routers, and without a look into Redis."""

from aicp_common.tally import Counts

TASKS = Counts("aicp_router_tasks_total", "Tasks, by what happened to them.", ["what"])
"""`created`, `claimed`, `completed`, `failed`, `declined`, `passed_on`, `lapsed`, `unroutable`, `cancelled`."""
