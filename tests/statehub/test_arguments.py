"""Bad arguments: each answer names the field and what was expected."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from aicp_common.envelope import encode_json
from aicp_common.errors import InvalidArgument
from aicp_statehub.contexts.json_text import checked
from aicp_statehub.contexts.reading import ContextReading
from aicp_statehub.contexts.sharing import ContextSharing
from tests.statehub.agent import Agent, ToolFailed

KEY = b'"context_key":"k",'
VALUE = b'"context_value":1,'


@pytest.mark.parametrize(
    ("tool", "body", "field"),
    [
        ("share_context", b"{%b}" % VALUE[:-1], "context_key: missing"),
        ("share_context", b"{%b}" % KEY[:-1], "context_value: missing"),
        ("share_context", b'{%b"context_key":7}' % VALUE, "context_key"),
        ("share_context", b'{%b%b"expected_version":-1}' % (KEY, VALUE), "expected_version"),
        ("share_context", b'{%b%b"expected_version":1.5}' % (KEY, VALUE), "expected_version"),
        ("share_context", b'{%b%b"expected_version":"1"}' % (KEY, VALUE), "expected_version"),
        ("share_context", b'{%b%b"expected_version":1e999}' % (KEY, VALUE), "expected_version"),
        ("share_context", b'{%b%b"ttl_s":0}' % (KEY, VALUE), "ttl_s"),
        ("share_context", b'{%b%b"ttl_s":1e12}' % (KEY, VALUE), "ttl_s"),
        ("share_context", b'{%b%b"merge":1}' % (KEY, VALUE), "merge"),
        ("share_context", b'{%b%b"colour":1}' % (KEY, VALUE), "colour: no such argument"),
        ("share_context", b'{%b"context_value":NaN}' % KEY, "arguments"),
        ("share_context", b'{%b"context_value":-Infinity}' % KEY, "arguments"),
        ("share_context", b'{%b"context_value":1e999}' % KEY, "context_value"),
        ("share_context", b'{%b"context_value":"\xff"}' % KEY, "context_value"),
        ("share_context", b"[]", "arguments"),
        ("share_context", b"7", "arguments"),
        ("share_context", b"{", "arguments"),
        ("get_context", b'{"newer_than":1}', "newer_than"),
        ("get_context", b'{"prefix":"a","wait_s":1}', "wait_s"),
        ("get_context", b'{"context_key":"k","prefix":"a"}', "prefix"),
        ("get_context", b'{"context_key":"k","cursor":"a"}', "cursor"),
        ("get_context", b'{"context_key":"k","wait_s":41}', "wait_s"),
        ("get_context", b'{"context_key":"k","wait_s":-1}', "wait_s"),
        ("get_context", b'{"context_key":"k","wait_s":NaN}', "wait_s"),
        ("get_context", b'{"context_key":"k","newer_than":-1}', "newer_than"),
        ("get_context", b'{"prefix":"a b"}', "prefix"),
        ("get_context", b'{"cursor":"/"}', "cursor"),
        ("get_context", b'{"limit":101}', "limit"),
        ("get_context", b'{"limit":0}', "limit"),
        ("delete_context", b"{}", "context_key: missing"),
        ("delete_context", b'{"context_key":"k","expected_version":"x"}', "expected_version"),
    ],
)
async def test_a_bad_argument_is_named(alice: Agent, tool: str, body: bytes, field: str) -> None:
    with pytest.raises(ToolFailed) as failed:
        await alice.send(tool, body)
    assert failed.value.code == "invalid_argument"
    assert failed.value.message.startswith(field), failed.value.message
    assert failed.value.expected or ": should be " in failed.value.message


@pytest.mark.parametrize(
    "key", ["", "/", "a/", "/a", "a//b", "a/../b", "..", ".", "a b", "한글", "a\n", "a%2Fb", "a" * 257, "a*", "a\u0000"]
)
async def test_a_bad_key_is_refused_with_the_rule(alice: Agent, key: str) -> None:
    for tool, more in (("share_context", {"context_value": 1}), ("get_context", {}), ("delete_context", {})):
        rule = r'context_key: .*A-Z a-z 0-9 \. _ ~ : @ - separated by "/", none empty, none "\." or "\.\."'
        with pytest.raises(ToolFailed, match=rule):
            await alice.call(tool, context_key=key, **more)


@pytest.mark.parametrize(
    ("tool", "declared"),
    [
        ("share_context", ContextSharing.share_context),
        ("get_context", ContextReading.get_context),
        ("delete_context", ContextSharing.delete_context),
    ],
)
async def test_the_example_in_a_tools_description_is_a_call_that_works(
    alice: Agent, tool: str, declared: Callable[..., Any]
) -> None:
    example = json.loads((declared.__doc__ or "").partition("Example: ")[2].strip().removesuffix("."))
    if "wait_s" in example:
        example["wait_s"] = 0
    assert (await alice.call(tool, **example))["status"] in ("stored", "not_found", "conflict")


@pytest.mark.parametrize("key", ["a", "A.b_c~d:e@f-g", "a/b/c", "...", "a/..b", "x" * 256])
async def test_every_key_of_the_alphabet_works(alice: Agent, key: str) -> None:
    assert (await alice.share(key, key))["version"] == 1
    assert (await alice.get(key))["value"] == key
    assert (await alice.delete(key))["status"] == "deleted"


async def test_a_value_may_have_256_kib_and_no_more(alice: Agent) -> None:
    assert (await alice.share("k", "x" * (256 * 1024 - 2)))["status"] == "stored"
    with pytest.raises(ToolFailed, match="context_value: has 262145 bytes") as failed:
        await alice.share("k", "x" * (256 * 1024 - 1))
    assert failed.value.expected == "at most 262144"


async def test_half_a_surrogate_pair_is_refused(alice: Agent) -> None:
    for text in (rb'"\ud800"', rb'{"a":"x\udc00"}', rb'"\ud800\ud800"'):
        with pytest.raises(ToolFailed) as failed:
            await alice.send("share_context", b"{%b" % KEY + b'"context_value":%b}' % text)
        assert "cannot be read" in failed.value.message


@pytest.mark.parametrize("opened", [b"[", b'{"a":'])
async def test_a_value_that_is_nested_too_deeply_is_refused(alice: Agent, opened: bytes) -> None:
    closed = b"]" if opened == b"[" else b"}"
    for depth in (101, 20_000):
        text = opened * depth + b"1" + closed * depth
        with pytest.raises(ToolFailed) as failed:
            await alice.send("share_context", b'{%b"context_value":%b}' % (KEY, text))
        assert failed.value.code == "invalid_argument"
    text = opened * 100 + b"1" + closed * 100
    assert (await alice.send("share_context", b'{%b"context_value":%b}' % (KEY, text)))["status"] == "stored"
    assert (await alice.get("k"))["status"] == "found"


async def test_brackets_in_strings_are_no_nesting(alice: Agent) -> None:
    value = ['[{"' * 200]
    await alice.send("share_context", b'{%b"context_value":%b}' % (KEY, encode_json(value)))
    assert (await alice.get("k"))["value"] == value


@pytest.mark.parametrize(
    "text", ["[]," * 200_000, r'"\u00e9",' * 80_000, "{}," * 100_000 + "1,"], ids=["[]", "escapes", "{}"]
)
def test_a_value_that_is_too_large_is_refused_for_its_size_before_anything_else(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"has \d+ bytes as JSON"):
        checked(f"[{text[:-1]}]".encode(), "context_value")


async def test_very_many_unknown_arguments_are_counted_and_not_explained(alice: Agent) -> None:
    arguments = {f"unknown_{number}": number for number in range(1_000)}
    for tool in ("share_context", "get_context"):
        with pytest.raises(ToolFailed, match="arguments: 1000 of them") as failed:
            await alice.call(tool, **arguments)
        assert "context_key" in failed.value.expected
