"""Embeddings in a router that runs: where they decide, where they are not asked, and what happens without them."""

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from aicp_common.bus import Bus
from aicp_router.matching.embedding import source
from aicp_router.matching.semantics import Semantics
from tests.router.conftest import Network
from tests.router.embedding_service import EmbeddingService, embedding_service
from tests.support.processes import Backend, ServiceProcess

BAKER = "Makes sourdough and croissants"
LAWYER = "Goes to the tribunal, knows litigation"
MUSICIAN = "First violin of an orchestra"


@pytest.fixture
def embeddings() -> Iterator[EmbeddingService]:
    """A service of this test alone."""
    with embedding_service() as service:
        yield service


@pytest.fixture
def routers(own_backend: Backend) -> Iterator[Callable[..., ServiceProcess]]:
    """Starts routers of this test alone, with settings."""
    started: list[ServiceProcess] = []

    def start(**settings: str) -> ServiceProcess:
        router = ServiceProcess("router", own_backend, settings).start().wait()
        started.append(router)
        return router

    yield start
    for router in started:
        assert router.stop() == 0, router.process.output()[-4000:]


@pytest.fixture
async def own_net(own_backend: Backend, tenant: str) -> AsyncIterator[Network]:
    """Calls to them."""
    bus = Bus(own_backend.nats_url, "tests")
    await bus.connect()
    yield Network(bus, tenant)
    await bus.close()


def page(router: ServiceProcess, name: str) -> str:
    """What the router shows to its operator."""
    with urllib.request.urlopen(f"http://127.0.0.1:{router.admin_port}/{name}", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def count(router: ServiceProcess, of: str, outcome: str) -> int:
    """What the router counts of embeddings."""
    found = re.search(rf'aicp_embeddings_total{{of="{of}",outcome="{outcome}"}} (\d+)', page(router, "metrics"))
    return int(found[1]) if found else 0


async def until(is_so: Callable[[], Awaitable[Any]]) -> Any:
    """What `is_so` gives as soon as that is something. It is asked again and again, each time with a call."""
    async with asyncio.timeout(20):
        while True:
            found = await is_so()
            if found:
                return found
            await asyncio.sleep(0.02)


async def embedded(router: ServiceProcess, profiles: int) -> None:
    """Until so many profiles have embeddings."""

    async def enough() -> bool:
        return count(router, "profile", "made") + count(router, "profile", "cached") >= profiles

    await until(enough)


async def three(net: Network, router: ServiceProcess) -> None:
    """Three agents, who do different things, with their embeddings."""
    for name, description in (("bea", BAKER), ("lou", LAWYER), ("mia", MUSICIAN)):
        await net.register(name, f"{name}-work", description=description)
    await embedded(router, 3)


def at(service: EmbeddingService, **more: str) -> dict[str, str]:
    """Settings for a router that asks this service."""
    return {"EMBEDDER": service.url, "EMBEDDER_MODEL": "small", "EMBEDDING_BUDGET_MS": "5000", **more}


async def test_a_message_that_shares_no_word_with_any_profile_finds_its_agent(
    own_net: Network, routers: Callable[..., ServiceProcess], embeddings: EmbeddingService
) -> None:
    router = routers(**at(embeddings, EMBEDDER_KEY="secret-key"))
    await three(own_net, router)
    routed = await own_net.route("alice", "how do I sue my landlord?")
    assert routed["agent"] == "lou"
    assert routed["why"]["parts"]["semantic"] == 1.0
    assert "speaks of" in routed["why"]["reason"]
    assert embeddings.keys == {"Bearer secret-key"}
    assert "secret-key" not in router.process.output()
    await own_net.route("alice", "how do I sue my landlord?")
    assert count(router, "message", "made") == 1
    assert count(router, "message", "cached") == 1


async def test_a_clear_decision_asks_for_no_embedding(
    own_net: Network, routers: Callable[..., ServiceProcess], embeddings: EmbeddingService
) -> None:
    router = routers(**at(embeddings))
    await three(own_net, router)
    asked = len(embeddings.asked)
    routed = await own_net.route("alice", "sourdough and croissants, please")
    assert routed["agent"] == "bea"
    assert "semantic" not in routed["why"]["parts"]
    assert len(embeddings.asked) == asked


async def test_agents_who_say_the_same_of_themselves_are_told_apart_without_embeddings(
    own_net: Network, routers: Callable[..., ServiceProcess], embeddings: EmbeddingService
) -> None:
    router = routers(**at(embeddings))
    for name in ("bea", "ben", "bob"):
        await own_net.register(name, "baking", description=BAKER)
    await embedded(router, 3)
    asked = len(embeddings.asked)
    await own_net.route("alice", "some bread", target_capabilities=["baking"])
    assert len(embeddings.asked) == asked


async def test_a_late_embedding_does_not_hold_up_the_decision(
    own_net: Network, routers: Callable[..., ServiceProcess], embeddings: EmbeddingService
) -> None:
    router = routers(**at(embeddings, EMBEDDING_BUDGET_MS="50"))
    await three(own_net, router)
    with embeddings.held():
        routed = await own_net.route("alice", "how do I sue my landlord?")
        assert routed["status"] == "unroutable"
        assert count(router, "message", "late") >= 1
        assert embeddings.asked.count("how do I sue my landlord?") == 1

    async def known_later() -> bool:
        return bool((await own_net.route("alice", "how do I sue my landlord?")).get("agent") == "lou")

    # The answer that came too late is kept for the next time.
    await until(known_later)


async def test_a_source_that_is_away_is_told_once_and_used_again_when_it_is_back(
    own_net: Network, routers: Callable[..., ServiceProcess]
) -> None:
    with embedding_service() as first:
        router = routers(**at(first))
        await three(own_net, router)
        port = first.port
    for number in range(3):
        assert (await own_net.route("alice", f"sue landlord number {number}"))["status"] == "unroutable"
    assert (await own_net.route("alice", "sourdough and croissants, please"))["agent"] == "bea"
    assert router.process.output().count("routing goes on by words alone") == 1
    assert "look at EMBEDDER" in router.process.output()
    with embedding_service(port):

        async def back() -> bool:
            return bool((await own_net.route("alice", "how do I sue my landlord?")).get("agent") == "lou")

        await until(back)
        assert router.process.output().count("embeddings are back") == 1
        assert router.process.output().count("routing goes on by words alone") == 1


async def test_embeddings_are_to_be_had_once_the_service_has_answered(
    own_net: Network, routers: Callable[..., ServiceProcess], embeddings: EmbeddingService
) -> None:
    with embeddings.held():
        router = routers(**at(embeddings))
        await asyncio.to_thread(embeddings.wait_for, "")
        assert "a service will be asked for embeddings" in router.process.output()
        assert "are to be had" not in router.process.output()
        assert "loaded" not in router.process.output()
    await three(own_net, router)
    assert router.process.output().count("embeddings are to be had") == 1
    assert "are back" not in router.process.output()


async def test_a_router_that_starts_anew_embeds_the_profiles_that_are_there(
    own_net: Network, routers: Callable[..., ServiceProcess], embeddings: EmbeddingService
) -> None:
    await three(own_net, first := routers(**at(embeddings)))
    assert first.stop() == 0
    second = routers(**at(embeddings))
    await own_net.tool("alice", "list_agents")
    await embedded(second, 3)
    assert (await own_net.route("alice", "how do I sue my landlord?"))["agent"] == "lou"


async def test_what_came_of_a_message_tells_of_others_that_mean_the_same(
    own_net: Network, routers: Callable[..., ServiceProcess], embeddings: EmbeddingService
) -> None:
    router = routers(**at(embeddings))
    await three(own_net, router)
    for _ in range(3):
        # Only experience says that the musician is the one who bakes well.
        await own_net.route("alice", "an oven for pizza", target_capabilities=["mia-work"])
        await own_net.submit("mia", await own_net.claim("mia"))
    await own_net.tool("alice", "list_agents")
    await asyncio.to_thread(embeddings.wait_for, "an oven for pizza")

    async def learned() -> bool:
        found = await own_net.route("alice", "who bakes here?")
        await own_net.tool("alice", "cancel_task", task_id=found["task_id"])
        return bool(found["agent"] == "mia" and found["why"]["parts"]["learned"] > 0.6)

    await until(learned)


async def test_the_bundled_model_brings_languages_together_in_a_router(
    own_net: Network, routers: Callable[..., ServiceProcess]
) -> None:
    router = routers(EMBEDDER="bundled", EMBEDDING_BUDGET_MS="10000")
    for name, description in (
        ("ada", "Repairs bicycles, changes tyres and brakes"),
        ("bob", "Looks after tropical fish and their tanks"),
        ("cleo", "Knows the stars and planets of the night sky"),
    ):
        await own_net.register(name, f"{name}-work", description=description)
    await embedded(router, 3)
    routed = await own_net.route("alice", "자전거 바퀴에 구멍이 났어요")
    assert routed["agent"] == "ada"
    assert routed["why"]["parts"]["semantic"] == 1.0
    assert '"embeddings":"bundled"' in page(router, "ready").replace(" ", "")


async def test_without_embeddings_the_words_decide_alone(
    own_net: Network, routers: Callable[..., ServiceProcess]
) -> None:
    router = routers(EMBEDDER="off")
    await own_net.register("bea", "baking", description=BAKER)
    assert (await own_net.route("alice", "how do I sue my landlord?"))["status"] == "unroutable"
    assert (await own_net.route("alice", "sourdough, please"))["agent"] == "bea"
    assert "embedding" not in router.process.output()


async def test_messages_at_once_share_calls(embeddings: EmbeddingService) -> None:
    semantics = Semantics(source(embeddings.url, model="small"), 10.0)
    await semantics.load()
    before, known = embeddings.calls, len(embeddings.asked)
    with embeddings.held():
        wanted = [asyncio.create_task(semantics.of_message(f"message {number}")) for number in range(4)]
        wanted += [asyncio.create_task(semantics.of_message("message 3")) for _ in range(3)]
        await asyncio.to_thread(embeddings.wait_for, "message 3")
        # Four calls are under way: what comes now waits for the next one.
        wanted += [asyncio.create_task(semantics.of_message(f"later {number}")) for number in range(20)]
        await asyncio.sleep(0)
    vectors = await asyncio.gather(*wanted)
    assert all(vector is not None for vector in vectors)
    assert embeddings.calls - before <= 6
    assert sorted(embeddings.asked[known:]) == sorted(
        [*(f"message {number}" for number in range(4)), *(f"later {number}" for number in range(20))]
    )
    await semantics.close()


async def test_a_message_does_not_ask_a_source_that_does_not_answer(embeddings: EmbeddingService) -> None:
    semantics = Semantics(source(embeddings.url, model="small"), 0.05)
    await semantics.load()
    with embeddings.held():
        late = [asyncio.create_task(semantics.of_message(f"message {number}")) for number in range(4)]
        assert await asyncio.gather(*late) == [None] * 4
        asked = len(embeddings.asked)
        assert await semantics.of_message("one more") is None
        assert len(embeddings.asked) == asked
    await semantics.close()


async def test_a_model_that_cannot_be_loaded_leaves_the_router_to_its_words(
    own_net: Network, routers: Callable[..., ServiceProcess]
) -> None:
    router = routers(EMBEDDER="model2vec:.")
    await own_net.register("bea", "baking", description=BAKER)
    assert (await own_net.route("alice", "sourdough, please"))["agent"] == "bea"

    async def told() -> bool:
        return "model2vec cannot load '.'" in router.process.output()

    await until(told)


async def test_who_looks_for_agents_finds_them_by_meaning(
    own_net: Network, routers: Callable[..., ServiceProcess], embeddings: EmbeddingService
) -> None:
    await three(own_net, routers(**at(embeddings)))
    listed = await own_net.tool("alice", "list_agents", query="how do I sue my landlord?")
    assert listed["agents"][0]["agent"] == "lou"
    assert listed["agents"][0]["match"]["parts"]["semantic"] == 1.0


async def test_a_task_that_is_declined_goes_to_who_means_the_same(
    own_net: Network, routers: Callable[..., ServiceProcess], embeddings: EmbeddingService
) -> None:
    router = routers(**at(embeddings))
    await three(own_net, router)
    await own_net.register("lea", "advice", description="Litigation of all kinds, before any tribunal")
    await embedded(router, 4)
    routed = await own_net.route("alice", "how do I sue my landlord?")
    await own_net.submit(routed["agent"], await own_net.claim(routed["agent"]), status="declined")
    other = {"lou": "lea", "lea": "lou"}[routed["agent"]]
    assert (await own_net.claim(other))["task_id"] == routed["task_id"]
