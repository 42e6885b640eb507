"""Made-up agents and messages, and strategies for them."""

from hypothesis import settings
from hypothesis import strategies as st

from aicp_router.matching.index import AgentIndex, Described
from aicp_router.matching.learning import Outcome

quick = settings(deadline=None, max_examples=50)
"""How long an example takes says nothing on a machine that is busy."""

NAMES = ("ada", "bob", "cleo", "dan", "eve")

CAPABILITIES = st.sampled_from(
    ["analysis", "data analysis", "Reasoning", "번역", "数据分析", "code-review", "sql", "x", "일반", "翻訳"]
)
TEXTS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            "",
            "복잡한 데이터 분석이 필요합니다",
            "please review my code",
            "translate this letter into French",
            "find the trend in my sales table",
            "bake a chocolate cake for the party",
        ]
    ),
)
LANGUAGES = st.lists(st.sampled_from(["en", "ko", "Français", "multilingual"]), max_size=2)
PROFILES = st.builds(Described, st.lists(CAPABILITIES, max_size=3).map(tuple), TEXTS, LANGUAGES.map(tuple))
OUTCOMES = st.builds(
    Outcome,
    agent=st.sampled_from(NAMES),
    message=TEXTS,
    reward=st.floats(-1, 1),
    at=st.floats(0, 1e7),
    duration_s=st.one_of(st.none(), st.floats(0, 1e5)),
)


def team() -> AgentIndex:
    """Five agents who do different things."""
    index = AgentIndex(capacity=200)
    index.put("ada", Described(("data analysis",), "statistics, SQL and dashboards"))
    index.put("bob", Described(("translation",), "translates letters between English, French and Korean"))
    index.put("cleo", Described(("cooking",), "recipes for cakes, bread and soups"))
    index.put("dan", Described(("code review",), "reads Python and TypeScript, finds bugs"))
    index.put("eve", Described(("general",), ""))
    return index
