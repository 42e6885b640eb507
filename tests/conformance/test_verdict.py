"""When a scenario counts as passed."""

import pytest

from tests.conformance.requirements import ALLOWED
from tests.conformance.suite import Check, Outcome

GOOD = Check("good", "SUCCESS", "")


def outcome(*checks: Check, scenario: str = "ping") -> Outcome:
    return Outcome("2025-11-25", scenario, checks)


def test_a_scenario_whose_checks_succeed_has_passed() -> None:
    assert outcome(GOOD, Check("wire-schema-valid", "SUCCESS", "")).verdict == "passed"


@pytest.mark.parametrize("status", ["FAILURE", "WARNING", "SKIPPED", "INFO"])
def test_one_check_that_ends_otherwise_is_enough_to_fail(status: str) -> None:
    judged = outcome(GOOD, Check("other", status, "the reason"))
    assert judged.verdict == "failed"
    assert judged.problems == [f"{status} other: the reason"]


def test_what_was_sent_is_no_reason_to_fail() -> None:
    assert outcome(GOOD, Check("incoming-response", "INFO", "")).verdict == "passed"
    assert outcome(GOOD, Check("incoming-sse-event", "FAILURE", "the tool failed")).verdict == "failed"


def test_well_formed_messages_alone_are_not_enough() -> None:
    assert outcome(Check("wire-schema-valid", "SUCCESS", "")).verdict == "failed"
    assert outcome().verdict == "failed"


def test_a_scenario_without_results_has_failed() -> None:
    assert Outcome("2025-11-25", "ping", missing="it broke off").problems == ["it broke off"]


@pytest.mark.parametrize(("scenario", "check", "status"), ALLOWED)
def test_an_exception_holds_for_its_scenario_and_status_alone(scenario: str, check: str, status: str) -> None:
    excused = Check(check, status, "")
    assert outcome(excused, scenario=scenario).problems == []
    assert outcome(excused, scenario=scenario).notes
    assert outcome(GOOD, excused).verdict == "failed"
    assert outcome(GOOD, Check(check, "FAILURE", ""), scenario=scenario).verdict == "failed"
