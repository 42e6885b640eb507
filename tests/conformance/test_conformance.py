"""The official conformance suite, one test for each scenario of each revision."""

import functools
from collections.abc import Callable, Iterator

import pytest

from tests.conformance import suite
from tests.conformance.hub import conformance_hub
from tests.conformance.requirements import SCENARIOS

Judge = Callable[[str], suite.Report]


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """What the suite says of a revision. It runs once for each."""
    folder = tmp_path_factory.mktemp("conformance")
    with conformance_hub(folder / "hub") as gateway:
        yield functools.cache(lambda revision: suite.run(gateway, revision, folder))


@pytest.mark.parametrize(
    ("revision", "scenario"), [(revision, scenario) for revision, names in SCENARIOS.items() for scenario in names]
)
def test_the_hub_passes_the_scenario(judge: Judge, revision: str, scenario: str) -> None:
    outcome = judge(revision).outcomes[scenario]
    assert not outcome.problems, "\n".join(outcome.problems)


@pytest.mark.parametrize("revision", SCENARIOS)
def test_the_suite_has_no_scenario_that_is_not_in_our_list(judge: Judge, revision: str) -> None:
    assert set(judge(revision).outcomes) == set(SCENARIOS[revision])
