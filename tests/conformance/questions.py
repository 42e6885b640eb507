"""Tools that ask the client's person, LLM or file system before they answer."""

import json
from typing import Any

from aicp_common.asking import InputRequired, elicitation, roots, sampling
from aicp_common.current_call import current_call
from aicp_common.envelope import Envelope
from aicp_common.errors import Conflict
from aicp_common.service import Service, Settings
from tests.conformance.definition import definition, given, said

PREFIX = "test_input_required_result_"


def form(message: str, /, **properties: dict[str, Any]) -> dict[str, Any]:
    """A question to the person: a form whose fields are `properties`, all required."""
    return elicitation(message, {"type": "object", "properties": properties, "required": list(properties)})


NAME = form("What is your name?", name={"type": "string"})
CONFIRM = form("Please confirm", ok={"type": "boolean"})
DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}


def titled(*titles: str) -> list[dict[str, str]]:
    """Choices with a title each."""
    return [{"const": f"value{number}", "title": title} for number, title in enumerate(titles, 1)]


ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": titled("First Option", "Second Option", "Third Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("First Choice", "Second Choice", "Third Choice")}},
    },
}


def filled_in(key: str, question: dict[str, Any]) -> dict[str, Any]:
    """The `ElicitResult` for a form.

    Raises:
        InputRequired: there is no answer yet, or one that is none: the person is asked once more.
    """
    answer = current_call().ask(key, question)
    if not isinstance(answer, dict) or answer.get("action") not in ("accept", "decline", "cancel"):
        raise InputRequired({key: question}, current_call().state)
    return answer


def entered(key: str, question: dict[str, Any], field: str, kind: type) -> Any:
    """The value of `field` of the form that the person has filled in.

    Raises:
        InputRequired: there is no answer yet, or one that is none: the person is asked once more.
        Conflict: the person does not want to.
    """
    answer = filled_in(key, question)
    if answer["action"] != "accept":
        raise Conflict(f"{key} was asked for and refused")
    content = answer.get("content")
    if not isinstance(content, dict) or not isinstance(content.get(field), kind):
        raise InputRequired({key: question}, current_call().state)
    return content[field]


def generated(key: str, question: dict[str, Any]) -> str:
    """What the client's LLM wrote.

    Raises:
        InputRequired: there is no answer yet, or one that is none.
    """
    answer = current_call().ask(key, question)
    content = answer.get("content") if isinstance(answer, dict) else None
    if not isinstance(content, dict) or not isinstance(content.get("text"), str):
        raise InputRequired({key: question}, current_call().state)
    words: str = content["text"]
    return words


def listed_roots(key: str) -> list[dict[str, Any]]:
    """The client's folders.

    Raises:
        InputRequired: there is no answer yet, or one that is none.
    """
    answer = current_call().ask(key, roots())
    found = answer.get("roots") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise InputRequired({key: roots()}, current_call().state)
    return found


def outcome(key: str, question: dict[str, Any]) -> str:
    """What became of a form, in a line."""
    answer = filled_in(key, question)
    return f"action={answer['action']}, content={json.dumps(answer.get('content'))}"


def declare(service: Service[Settings]) -> None:
    """Declare the tools."""
    _declare_of_the_handshake_era(service)
    _declare_with_one_question(service)
    _declare_with_more(service)


def _declare_of_the_handshake_era(service: Service[Settings]) -> None:
    @service.raw_tool(definition("test_sampling", "Asks the client's LLM.", prompt={"type": "string"}))
    async def test_sampling(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said(f"LLM response: {generated('answer', sampling(given(arguments, 'prompt'), 100))}")

    @service.raw_tool(definition("test_elicitation", "Asks the person.", message={"type": "string"}))
    async def test_elicitation(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        question = form(
            given(arguments, "message"),
            username={"type": "string", "description": "User's response"},
            email={"type": "string", "description": "User's email address"},
        )
        return said(f"User response: {outcome('form', question)}")

    @service.raw_tool(definition("test_elicitation_sep1034_defaults", "Asks with a default for every kind of field."))
    async def test_defaults(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said(f"Elicitation completed: {outcome('form', elicitation('Please check this', DEFAULTS))}")

    @service.raw_tool(definition("test_elicitation_sep1330_enums", "Asks with every kind of choice."))
    async def test_enums(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said(f"Elicitation completed: {outcome('form', elicitation('Please choose', ENUMS))}")


def _declare_with_one_question(service: Service[Settings]) -> None:
    @service.raw_tool(definition("test_missing_capability", "Needs a client with an LLM."), requires=("sampling",))
    async def test_missing_capability(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said("The client has an LLM")

    @service.raw_tool(definition("test_streaming_elicitation", "Tells how far it is, then asks the person."))
    async def test_streaming_elicitation(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        await current_call().progress(1)
        return said(f"Hello, {entered('user_name', NAME, 'name', str)}!")

    @service.raw_tool(definition(f"{PREFIX}elicitation", "Asks for a name."))
    async def asks_person(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said(f"Hello, {entered('user_name', NAME, 'name', str)}!")

    @service.raw_tool(definition(f"{PREFIX}sampling", "Asks the client's LLM for a capital."))
    async def asks_llm(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said(generated("capital_question", sampling("What is the capital of France?", 100)))

    @service.raw_tool(definition(f"{PREFIX}list_roots", "Asks for the client's folders."))
    async def asks_roots(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said(*(f"Root: {root.get('uri')}" for root in listed_roots("client_roots")), "That is all")

    @service.raw_tool(definition(f"{PREFIX}request_state", "Gives something along and wants it back."))
    async def keeps_state(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return confirmed("as it was given")

    @service.raw_tool(definition(f"{PREFIX}tampered_state", "Gives something along that nobody may change."))
    async def keeps_sealed_state(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return confirmed("under seal")

    def confirmed(given: str) -> dict[str, Any]:
        call = current_call()
        if call.state != given:
            raise InputRequired({"confirm": CONFIRM}, given)
        return said(f"state-ok, confirmed: {entered('confirm', CONFIRM, 'ok', bool)}")


def _declare_with_more(service: Service[Settings]) -> None:
    @service.raw_tool(definition(f"{PREFIX}multiple_inputs", "Asks the person, the LLM and for folders, all at once."))
    async def asks_all(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        call = current_call()
        greeting = sampling("Generate a greeting", 50)
        questions = {"user_name": NAME, "greeting": greeting, "client_roots": roots()}
        open_questions = {key: question for key, question in questions.items() if key not in call.answers}
        if open_questions:
            raise InputRequired(open_questions, "asked all")
        name = entered("user_name", NAME, "name", str)
        return said(f"{name}, {generated('greeting', greeting)}, {len(listed_roots('client_roots'))} folders")

    @service.raw_tool(definition(f"{PREFIX}multi_round", "Asks twice, one after the other."))
    async def asks_twice(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        name = entered("step1", form("Step 1: What is your name?", name={"type": "string"}), "name", str)
        color = form("Step 2: What is your favorite color?", color={"type": "string"})
        favorite = entered("step2", color, "color", str)
        return said(f"{name} likes {favorite}")

    @service.raw_tool(definition(f"{PREFIX}capabilities", "Asks for whatever the client can give."))
    async def asks_what_is_possible(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        call = current_call()
        questions = {"elicitation": NAME, "sampling": sampling("Generate a greeting", 50), "roots": roots()}
        possible = {key: question for key, question in questions.items() if call.can(key) and key not in call.answers}
        if possible:
            raise InputRequired(possible)
        return said(f"Answered: {', '.join(sorted(call.answers)) or 'nothing'}")
