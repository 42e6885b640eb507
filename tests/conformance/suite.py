"""The official conformance suite as a program, and what it found out."""

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.conformance.requirements import ALLOWED, SCENARIOS, TRANSCRIPT
from tests.support.processes import GatewayProcess
from tests.typescript import node

PROGRAM = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
AGENT = "conformance"
"""Tasks and the state of a request belong to an agent, and each request of the stateless era stands alone: the suite
goes by one name, so that it finds again what it has begun."""
TIMEOUT_S = 300.0
"""For one revision. A server that answers takes it less than one."""


Verdict = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Check:
    """One check of a scenario."""

    id: str
    status: str
    """SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""
    message: str


@dataclass(frozen=True)
class Outcome:
    """What became of a scenario."""

    revision: str
    scenario: str
    checks: tuple[Check, ...] = ()
    missing: str = ""
    """Why there are no checks."""

    def allowed(self, check: Check) -> str:
        """Why this check may end otherwise than with SUCCESS; empty: it may not."""
        if check.status == "INFO" and check.id in TRANSCRIPT:
            return "a transcript"
        return ALLOWED.get((self.scenario, check.id, check.status), "")

    @property
    def notes(self) -> list[str]:
        """What is worth a look and no reason to fail."""
        others = [check for check in self.checks if check.status != "SUCCESS" and check.id not in TRANSCRIPT]
        return [f"{check.status} {check.id}: {why}" for check in others if (why := self.allowed(check))]

    @property
    def problems(self) -> list[str]:
        """Why it has not passed; empty: it has."""
        if self.missing:
            return [self.missing]
        failed = [check for check in self.checks if check.status != "SUCCESS" and not self.allowed(check)]
        if failed:
            return [f"{check.status} {check.id}: {check.message}" for check in failed]
        # That the messages are well-formed says nothing about what the scenario is for.
        if not any(check.status == "SUCCESS" and check.id != "wire-schema-valid" for check in self.checks):
            return [] if self.notes else ["no check of this scenario came to an end"]
        return []

    @property
    def verdict(self) -> Verdict:
        """In a word. Skipped are only scenarios that are skipped for every server."""
        if self.problems:
            return "failed"
        return "passed" if any(check.status == "SUCCESS" for check in self.checks) else "skipped"

    @property
    def succeeded(self) -> int:
        """How many checks ended with SUCCESS."""
        return sum(check.status == "SUCCESS" for check in self.checks)


@dataclass(frozen=True)
class Report:
    """What the suite found out about one revision."""

    revision: str
    outcomes: dict[str, Outcome]
    """By scenario: those that have to pass, and those that the suite ran in addition."""
    log: str = field(repr=False)
    """What it printed."""

    @property
    def passed(self) -> bool:
        """Whether every scenario has passed."""
        return not any(outcome.problems for outcome in self.outcomes.values())


def run(gateway: GatewayProcess, revision: str, folder: Path) -> Report:
    """Run everything that `revision` requires, and what goes with it, against a gateway.

    Args:
        gateway: With the fixture behind it.
        revision: A key of `SCENARIOS`.
        folder: For the results; must be empty.
    """
    results = folder / revision
    url = f"{gateway.http_url}?agent={AGENT}"
    argv = node.argv(PROGRAM, "server", "--url", url, "--requirements", revision, "--output-dir", str(results))
    environment = {**os.environ, "HOME": str(folder), "NO_COLOR": "1"}
    log = folder / f"{revision}.log"
    ending = "the suite ended before it"
    with log.open("wb") as output:
        try:
            # It fails when a scenario that counts has failed; that is read from the results.
            subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=TIMEOUT_S,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            ending = f"the suite did not come to it, or to its end, within {TIMEOUT_S:.0f} s"
    found, printed = _read(results), log.read_text(errors="replace")
    outcomes = {}
    for scenario in (*SCENARIOS[revision], *(name for name in found if name not in SCENARIOS[revision])):
        checks = found.get(scenario)
        if scenario not in SCENARIOS[revision]:
            outcomes[scenario] = Outcome(revision, scenario, missing="the suite ran it, and it is not in our list")
        elif checks is None:
            outcomes[scenario] = Outcome(revision, scenario, missing=_crash(printed, scenario) or ending)
        else:
            outcomes[scenario] = Outcome(revision, scenario, checks)
    return Report(revision, outcomes, printed)


def _crash(printed: str, scenario: str) -> str:
    """What the suite said of a scenario that it could not bring to an end; empty: nothing."""
    _, mark, rest = printed.partition(f"Failed to run scenario {scenario}: ")
    return f"the scenario broke off: {rest.splitlines()[0]}" if mark else ""


_FOLDER = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
"""Where the suite writes the checks of a scenario: its name and the time."""


def _read(results: Path) -> dict[str, tuple[Check, ...]]:
    """The checks by scenario."""
    found: dict[str, tuple[Check, ...]] = {}
    for path in sorted(results.glob("server-*/checks.json")):
        named = _FOLDER.fullmatch(path.parent.name)
        if named is None:
            raise ValueError(f"{path.parent.name!r} is no folder of results as the suite names them")
        checks: list[dict[str, Any]] = json.loads(path.read_bytes())
        found[named["scenario"]] = tuple(
            Check(check["id"], check["status"], check.get("errorMessage") or check.get("description", ""))
            for check in checks
        )
    return found
