"""The bridge's decisions, sans I/O: lines of a client and frames of a hub go in, lines and frames come out.

A driver feeds `line`, `frame`, `connection_opened`, `connection_lost` and `tick`, writes what `take_lines` returns to
the client, and while a connection is open sends what `next_frame` returns, one after the other. What has not been taken
from `next_frame` has not been sent: so it is known which calls a broken connection has put in doubt.

Messages of both eras pass unchanged, letter for letter, ids included. The bridge's own requests have ids with a random
prefix. Only the ids of the hub's requests are replaced on the way to the client, since another connection of the hub
may use the same ones again. Source: MCP 2025-11-25 and 2026-07-28.
"""

import secrets
from collections import deque
from dataclasses import dataclass
from typing import Any

from aicp.connect.backlog import Backlog, Entry, Limits
from aicp.connect.channel import INBOX, METHOD, Channel
from aicp.connect.handshake import Handshake
from aicp.connect.listens import UPDATED, changes_missed, subscription_of
from aicp.connect.message import (
    BUSY,
    INVALID_REQUEST,
    NAMES,
    PARSE_ERROR,
    UNAVAILABLE,
    Message,
    NotAMessage,
    encode,
    error_answer,
    key_of,
    read,
)
from aicp.connect.repetition import Repetition
from aicp.connect.subscriptions import MAX_SUBSCRIPTIONS, Subscriptions

_MAYBE_DONE = "may or may not have been done"
_LOOK_FIRST = f"it {_MAYBE_DONE}: look before you do it again"
IN_DOUBT = f"the connection to the hub broke while the call was under way; {_LOOK_FIRST}"
_FAREWELL_S = 5.0
"""How long after its last messages a hub that stops has closed the connection."""
_MAX_ASKED = 1000
"""Requests of a hub that a client may leave unanswered."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request of the hub, which the client has under another id."""

    key: str
    raw_id: str
    """As the hub wrote it, and will look for it."""


@dataclass(frozen=True, slots=True)
class _Own:
    """A request of the bridge itself."""

    what: str
    uri: str = ""


class Relay:
    """One client and, one after the other, its connections to a hub. Nothing that it is fed makes it raise.

    Args:
        channel: Whether to send channel events; None: to clients that call themselves a Claude.
        limits: What is kept while the hub is away.
    """

    def __init__(self, *, channel: bool | None = None, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._backlog = Backlog(self._limits)
        self._handshake = Handshake()
        self._subscriptions = Subscriptions()
        self._repetition = Repetition()
        self._channel = Channel(channel)
        self._inbox_open = False
        self._connected = False
        self._resuming = False
        self._prefix = f"aicp-connect-{secrets.token_hex(8)}"
        self._last_id = 0
        self._own: dict[str, _Own] = {}
        self._own_frames: deque[str] = deque()
        self._asked: dict[str, _Asked] = {}
        self._lines: list[str] = []
        self._why_away = "it has not been reached yet"
        self._end: tuple[int, str] | None = None
        """Code and text of the answer to everything, once there will be no connection any more."""
        self.failure: str | None = None
        """Why the conversation cannot go on; the driver ends then."""

    @property
    def waiting(self) -> int:
        """Messages of the client that are not sent yet."""
        return self._backlog.waiting

    @property
    def waiting_chars(self) -> int:
        """Their size."""
        return self._backlog.waiting_chars

    def take_lines(self) -> list[str]:
        """What the client is to be given now, one message a line, without line ends."""
        lines, self._lines = self._lines, []
        return lines

    def next_frame(self, now: float) -> str | None:
        """What the hub is to be sent next; from now on it counts as sent. None: nothing now."""
        if not self._connected:
            return None
        if self._own_frames:
            return self._own_frames.popleft()
        if self._resuming:
            return None
        if (uri := self._subscriptions.next(now)) is not None:
            return self._request("subscribe", "resources/subscribe", {"uri": uri}, uri=uri)
        if self._inbox_open and self._channel.begin_look(now):
            return self._request("look", "resources/read", {"uri": INBOX})
        entry = self._backlog.next()
        if entry is None:
            return None
        text = entry.text
        if entry.key is not None and not self._repetition.allowed(entry.method, entry.params):
            self._backlog.forget_text(entry)
        return text

    # -------------------------------------------------------------------------------------------------- from the client

    def line(self, data: bytes, now: float) -> None:
        """One line of the client, without its line end."""
        if not data.strip():
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            self._lines.append(error_answer(None, PARSE_ERROR, f"the message is not UTF-8: {error}"))
            return
        for message in read(text):
            if isinstance(message, NotAMessage):
                self._lines.append(message.answer())
            elif len(data) > self._limits.message_bytes:
                self.line_too_long(message.id if message.kind == "request" else None)
            elif message.kind == "request":
                self._take_request(message, now)
            elif message.kind == "notification":
                self._take_notification(message, now)
            else:
                self._take_response(message, now)

    def line_too_long(self, id: str | int | None = None) -> None:
        """A line of the client is longer than the hub would take."""
        reason = f"the message is too long; at most {self._limits.message_bytes} bytes are allowed"
        self._lines.append(error_answer(id, INVALID_REQUEST, reason))

    def _take_request(self, message: Message, now: float) -> None:
        if self._end is not None:
            self._answer(message.id, *self._end)
            return
        key = key_of(message.id)
        same = self._backlog.find(key)
        if same is not None and same.farewell:
            self._pass_farewell(same)
            same = None
        if same is not None:
            self._answer(message.id, INVALID_REQUEST, f"a request with the id {key} is still under way")
        elif message.method == "resources/unsubscribe" and self._keeps_inbox(message):
            self._subscriptions.discard(INBOX)
            self._lines.append(encode({"id": message.id, "result": {}}))
        elif not self._backlog.has_room(message.text):
            self._answer(message.id, BUSY, f"{self._full()}, no more are taken before some have their answers")
        elif message.method == "resources/subscribe" and len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            self._answer(message.id, BUSY, f"there are {MAX_SUBSCRIPTIONS} subscriptions; unsubscribe from some first")
        else:
            self._backlog.append(Entry(message.text, now, message.method, _remembered(message), key, message.id))

    def _keeps_inbox(self, message: Message) -> bool:
        """Whether the client leaves its inbox, which the bridge goes on watching for it."""
        return message.params.get("uri") == INBOX and self._channel.on and self._handshake.agreed

    def _full(self) -> str:
        if self._connected:
            return f"{self._backlog.count} requests are under way"
        return f"the hub cannot be reached ({self._why_away}) and {self._backlog.count} messages wait for it already"

    def _take_notification(self, message: Message, now: float) -> None:
        match message.method:
            case "notifications/initialized":
                self._handshake.initialized(message)
                self._complete_handshake()
            case "notifications/cancelled":
                self._take_cancellation(message, now)
            case "notifications/progress" | "notifications/roots/list_changed" if not self._connected:
                # Of a request that has gone with its connection; of roots that a new connection asks for anew.
                pass
            case method:
                fleeting = method in ("notifications/progress", "notifications/roots/list_changed")
                self._keep(message, now, fleeting=fleeting)

    def _take_cancellation(self, message: Message, now: float) -> None:
        entry = self._backlog.find(key_of(message.params.get("requestId")))
        if entry is None:
            return
        self._backlog.remove(entry)
        if entry.in_flight:
            self._keep(message, now, fleeting=True)

    def _take_response(self, message: Message, now: float) -> None:
        id = message.body.get("id")
        asked = self._asked.pop(id, None) if isinstance(id, str) else None
        if asked is not None:
            self._backlog.append(Entry(message.with_raw_id(asked.raw_id), now, fleeting=True))

    def _keep(self, message: Message, now: float, *, fleeting: bool) -> None:
        # Nobody waits for an answer to a notification: one that has no room goes unsaid, as over any broken connection.
        if self._backlog.has_room(message.text):
            self._backlog.append(Entry(message.text, now, message.method, fleeting=fleeting))

    # ----------------------------------------------------------------------------------------------------- from the hub

    def frame(self, text: str, now: float) -> None:
        """One text frame of the hub. What is no message is dropped: nothing but MCP may reach the client."""
        for message in read(text):
            if isinstance(message, NotAMessage):
                continue
            if message.kind == "request":
                self._pass_request(message)
            elif message.kind == "notification":
                self._pass_notification(message, now)
            else:
                self._pass_response(message, now)

    def _pass_request(self, message: Message) -> None:
        if len(self._asked) >= _MAX_ASKED:
            reason = f"the client has left {_MAX_ASKED} requests unanswered"
            self._own_frames.append(error_answer(message.id, BUSY, reason))
            return
        id = self._new_id()
        self._asked[id] = _Asked(key_of(message.id), message.raw_id)
        self._lines.append(message.with_raw_id(f'"{id}"'))

    def _pass_notification(self, message: Message, now: float) -> None:
        match message.method:
            case "notifications/cancelled":
                self._pass_cancellation(message, now)
            case "notifications/subscriptions/acknowledged":
                self._pass_acknowledgement(message)
            case "notifications/resources/updated" if message.params.get("uri") == INBOX:
                self._channel.changed()
                if self._is_for_client(message):
                    self._lines.append(message.text)
            case _:
                self._lines.append(message.text)

    def _is_for_client(self, inbox_updated: Message) -> bool:
        """Whether the client has asked for it too, not only the bridge."""
        return (
            not self._subscriptions.watches(INBOX)
            or self._subscriptions.of_client(INBOX)
            or subscription_of(inbox_updated) is not None
            or any(
                entry.method == "resources/subscribe" and entry.params.get("uri") == INBOX
                for entry in self._backlog.requests()
            )
        )

    def _pass_cancellation(self, message: Message, now: float) -> None:
        key = key_of(message.params.get("requestId"))
        for id, asked in self._asked.items():
            if asked.key == key:
                del self._asked[id]
                params = {**message.params, "requestId": id}
                self._lines.append(encode({"method": message.method, "params": params}))
                return
        entry = self._backlog.find(key)
        if entry is not None and entry.in_flight and entry.method == "subscriptions/listen":
            self._keep_farewell(entry, message, now)

    def _pass_acknowledgement(self, message: Message) -> None:
        entry = self._backlog.find(key_of(subscription_of(message)))
        if entry is None or not entry.acknowledged:
            self._lines.append(message.text)
        else:
            self._lines.extend(changes_missed(message))
        if entry is not None:
            entry.acknowledged = True
            entry.sendings = 0

    def _keep_farewell(self, entry: Entry, message: Message, now: float) -> None:
        """The hub ends a subscription. When it does so because it stops, the next connection takes it up again."""
        entry.farewell.append(message.text)
        entry.farewell_at = now

    def _pass_farewell(self, entry: Entry) -> None:
        self._backlog.remove(entry)
        self._lines.extend(entry.farewell)

    def _pass_response(self, message: Message, now: float) -> None:
        id = message.body.get("id")
        if id is None:
            # The hub could not tell which message it was that is wrong.
            self._lines.append(message.text)
            return
        own = self._own.pop(id, None) if isinstance(id, str) else None
        if own is not None:
            self._take_own_answer(own, message, now)
            return
        entry = self._backlog.find(key_of(id))
        if entry is None or not entry.in_flight:
            return  # of a request that was cancelled
        if entry.acknowledged and message.result is not None:
            self._keep_farewell(entry, message, now)
            return
        self._backlog.remove(entry)
        self._lines.append(self._learn_from(entry, message))
        self._complete_handshake()

    def _learn_from(self, entry: Entry, answer: Message) -> str:
        """The text for the client, after what it means for later connections is noted."""
        result = answer.result
        if result is None:
            return answer.text
        match entry.method:
            case "initialize":
                self._handshake.answered(entry.params, result)
                self._channel.decide(entry.params)
                if self._channel.on:
                    return encode({"id": answer.id, "result": self._channel.announced_in(result)})
            case "logging/setLevel":
                self._handshake.level = entry.params.get("level")
            case "resources/subscribe":
                self._subscriptions.add(str(entry.params.get("uri")))
            case "resources/unsubscribe":
                self._subscriptions.discard(str(entry.params.get("uri")))
            case "tools/list":
                self._repetition.note_tools(result)
            case "tools/call" if entry.params.get("name") == "receive_tasks":
                # What was claimed waits no longer; when it comes back, that is news.
                self._channel.changed()
        return answer.text

    # --------------------------------------------------------------------------------------------- connections and time

    def connection_opened(self) -> None:
        """There is a connection to the hub."""
        self._connected = True
        if self._handshake.agreed:
            self._resuming = True
            id = self._new_id()
            self._own[id] = _Own("initialize")
            self._own_frames.append(self._handshake.again(id))
        else:
            self._subscriptions.restore()

    def connection_lost(self, now: float, why: str) -> None:
        """The connection broke, or there is none yet; `why` is for people."""
        self._why_away = why
        if not self._connected:
            return
        self._connected = self._resuming = self._inbox_open = False
        self._own.clear()
        self._own_frames.clear()
        self._handshake.connection_lost()
        self._subscriptions.connection_lost()
        self._channel.connection_lost()
        for id in self._asked:
            params = {"requestId": id, "reason": "the connection to the hub broke"}
            self._lines.append(encode({"method": "notifications/cancelled", "params": params}))
        self._asked.clear()
        for entry in self._backlog.connection_lost(now):
            self._answer(entry.id, UNAVAILABLE, IN_DOUBT if not entry.text else self._given_up())

    def tick(self, now: float) -> None:
        """Time has passed."""
        for entry in self._backlog.requests():
            if entry.farewell and now - entry.farewell_at >= _FAREWELL_S:
                self._pass_farewell(entry)
        for entry in self._backlog.overdue(now):
            if entry.key is not None:
                done = "has not been done" if not entry.sendings else _MAYBE_DONE
                reason = f"the request waited {self._limits.patience_s:g} s for the hub and {done}"
                self._answer(entry.id, UNAVAILABLE, f"{reason}: {self._why_not_sent()}")

    def give_up(self, why: str, code: int = UNAVAILABLE) -> None:
        """There will be no connection any more: all that waits is answered, and so is what the client still asks.

        Args:
            why: For people.
            code: JSON-RPC error code of the answers.
        """
        self._end = code, why
        for entry in self._backlog.requests():
            self._backlog.remove(entry)
            in_doubt = entry.in_flight and not entry.text
            self._answer(entry.id, code, f"{why}; the call was under way, {_LOOK_FIRST}" if in_doubt else why)

    def _why_not_sent(self) -> str:
        return "it takes no messages" if self._connected else f"it cannot be reached ({self._why_away})"

    def _given_up(self) -> str:
        return f"the connection to the hub broke {self._limits.sendings} times over this request; it {_MAYBE_DONE}"

    # ------------------------------------------------------------------------------------------------ the bridge itself

    def _complete_handshake(self) -> None:
        text = self._handshake.initialized_to_send()
        if text is not None:
            self._own_frames.append(text)
            if self._channel.on:
                self._subscriptions.watch(INBOX)

    def _request(self, what: str, method: str, params: dict[str, Any], uri: str = "") -> str:
        id = self._new_id()
        self._own[id] = _Own(what, uri)
        return encode({"id": id, "method": method, "params": params})

    def _take_own_answer(self, own: _Own, answer: Message, now: float) -> None:
        match own.what:
            case "initialize":
                self._resume(answer)
            case "subscribe" if answer.result is None:
                of_client = self._subscriptions.of_client(own.uri)
                if not self._subscriptions.refused(own.uri, now) and of_client:
                    # It is gone: the client learns so when it reads it again.
                    self._tell_of_change(own.uri)
            case "subscribe":
                self._subscriptions.confirmed(own.uri)
                if own.uri == INBOX and self._subscriptions.watches(INBOX):
                    self._inbox_open = True
                    self._channel.changed()
                if self._subscriptions.of_client(own.uri):
                    self._tell_of_change(own.uri)
            case "look":
                for params in self._channel.end_look(answer.result):
                    self._lines.append(encode({"method": METHOD, "params": params}))

    def _resume(self, answer: Message) -> None:
        self.failure = self._handshake.resumed(answer)
        if self.failure is not None:
            return
        self._resuming = False
        self._subscriptions.restore()
        self._complete_handshake()
        if self._handshake.level is not None:
            self._own_frames.append(self._request("level", "logging/setLevel", {"level": self._handshake.level}))
        self._lines.extend(self._handshake.lists_to_look_at_again())

    def _tell_of_change(self, uri: str) -> None:
        self._lines.append(encode({"method": UPDATED, "params": {"uri": uri}}))

    def _new_id(self) -> str:
        self._last_id += 1
        return f"{self._prefix}-{self._last_id}"

    def _answer(self, id: str | int, code: int, reason: str) -> None:
        data = {"code": NAMES[code], "message": reason} if code in NAMES else None
        self._lines.append(error_answer(id, code, reason, data))


def _remembered(request: Message) -> dict[str, Any]:
    """What of its params is needed once it is sent: they may be large."""
    if request.method == "initialize":
        return request.params
    return {name: value for name, value in request.params.items() if name in ("name", "uri", "level")}
