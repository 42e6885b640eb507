"""What client and server say to each other over one connection, one POST or one event stream."""

import json
from collections.abc import Iterator
from typing import Any, Literal

from tests.support.checked import answers, definitions, narrowing, notices
from tests.support.checked.report import Report
from tests.support.checked.revisions import BATCHES, HANDSHAKE, LATEST_HANDSHAKE, STATELESS
from tests.support.checked.session import (
    SUBSCRIPTION_KEY,
    VERSION_KEY,
    Asked,
    Key,
    Progress,
    Session,
    is_id,
    key_of,
    object_at,
)

LISTEN = "subscriptions/listen"
PROGRESS = "notifications/progress"
CANCELLED = "notifications/cancelled"

MAX_ID = 256
"""Characters of an id that a server can be expected to send back."""


class Talk:
    """Hears what the client says, checks what the server says.

    Args:
        session: Of the client; one of its own for a WebSocket connection and for a POST outside of any session.
        report: Takes what is wrong.
        transport: `post` is one POST with its answer, `stream` one GET.
        stateless: Whether the headers say that this is the stateless era.
        resumed: Whether the stream takes up one that broke off, so that messages may come again.
    """

    def __init__(
        self,
        session: Session,
        report: Report,
        transport: Literal["websocket", "post", "stream"],
        *,
        stateless: bool = False,
        resumed: bool = False,
    ) -> None:
        self.session = session
        self.stateless = stateless
        """Whether anything of the stateless era was said."""
        self._report = report
        self._transport = transport
        self._resumed = resumed
        self._asked: dict[Key, list[Asked]] = {}
        self._answered: set[Key] = set()
        self._progress: dict[Key, Progress] = {}
        # What the client said that is no proper request, and may be answered without an id, or with any.
        self._unreadable = 0
        self._opaque = 0

    def heard(self, data: str | bytes) -> None:
        """The client has sent this."""
        odd: list[str] = []
        try:
            text = data if isinstance(data, str) else data.decode("utf-8", "replace")
            message = json.loads(text, parse_constant=odd.append)
        except (ValueError, RecursionError):
            self._unreadable += 1
            self._opaque += 1
            return
        if odd or "\ufffd" in text or isinstance(message, list):
            self._unreadable += 1
        for each in message if isinstance(message, list) else [message]:
            self._hear(each)

    def heard_nothing_readable(self) -> None:
        """The client has sent a frame that is not text."""
        self._unreadable += 1

    def said(self, data: str | bytes, status: int | None = None) -> None:
        """The server sends this.

        Args:
            data: One message, or a batch.
            status: The HTTP status that it comes with; None on a stream.
        """
        try:
            text = data if isinstance(data, str) else data.decode()
            message = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            self.wrong("", [f"not JSON: {error}"], data if isinstance(data, str) else data.decode("utf-8", "replace"))
            return
        if isinstance(message, list):
            self._say_batch(message, text, status)
        else:
            self._say(message, text, status)

    def wrong(self, method: str, faults: list[str], text: str, revision: str = "") -> None:
        """Report a message of the server."""
        self._report.add(revision or self._revision(), method, faults, text)

    # What the client says

    def _hear(self, message: Any) -> None:
        if not isinstance(message, dict):
            self._unreadable += 1
            return
        method = message.get("method")
        if "id" not in message and isinstance(method, str):
            self._hear_notification(method, object_at(message, "params"))
            return
        if method is None and ("result" in message or "error" in message):
            return
        id = message.get("id")
        params = message.get("params", {})
        proper = message.get("jsonrpc") == "2.0" and isinstance(method, str) and isinstance(params, dict)
        if not proper or not is_id(id) or len(key_of(id)) > MAX_ID:
            self._unreadable += 1
        if is_id(id):
            self._hear_request(
                id, method if isinstance(method, str) else "", params if isinstance(params, dict) else {}
            )

    def _hear_request(self, id: str | int, method: str, params: dict[str, Any]) -> None:
        stateless = self._asks_stateless(method, params)
        asked = Asked(id, method, params, stateless, self)
        self.stateless |= stateless
        (self._asked if stateless else self.session.asked).setdefault(key_of(id), []).append(asked)
        token = asked.meta.get("progressToken")
        if is_id(token):
            (self._progress if stateless else self.session.progress)[key_of(token)] = Progress(asked)

    def _asks_stateless(self, method: str, params: dict[str, Any]) -> bool:
        if method == "initialize":
            return False
        meta = object_at(params, "_meta")
        if VERSION_KEY not in meta:
            return self.stateless and self._transport == "post"
        # A client of the handshake era may well repeat what was agreed on.
        return meta[VERSION_KEY] not in HANDSHAKE or self.session.revision is None

    def _hear_notification(self, method: str, params: dict[str, Any]) -> None:
        if method == CANCELLED and is_id(params.get("requestId")):
            key = key_of(params["requestId"])
            for asked in [*self._asked.get(key, []), *self.session.asked.get(key, [])]:
                asked.cancelled = True

    # What the server says

    def _revision(self, stateless: bool | None = None) -> str:
        if stateless is None:
            stateless = self.stateless and (self._transport == "post" or self.session.revision is None)
        return STATELESS if stateless else self.session.revision or LATEST_HANDSHAKE

    def _say_batch(self, messages: list[Any], text: str, status: int | None) -> None:
        faults = []
        if self._revision() != BATCHES:
            faults.append("a batch; this revision has none")
        if not messages:
            faults.append("an empty batch")
        if len({isinstance(each, dict) and "method" in each for each in messages}) > 1:
            faults.append("a batch of responses and of other messages")
        if faults:
            self.wrong("", faults, text)
        for each in messages:
            self._say(each, json.dumps(each), status)

    def _say(self, message: Any, text: str, status: int | None) -> None:
        if not isinstance(message, dict):
            self.wrong("", ["not an object"], text)
        elif "method" not in message:
            self._say_response(message, text, status)
        elif not isinstance(message["method"], str):
            self.wrong("", ["method is not a text"], text)
        elif "id" in message:
            self._say_request(message, text)
        else:
            self._say_notification(message, text)

    def _say_response(self, message: dict[str, Any], text: str, status: int | None) -> None:
        faults = []
        if ("result" in message) == ("error" in message):
            faults.append("has to have either a result or an error")
        if not is_id(message.get("id")):
            if "id" in message or "error" not in message:
                faults.append("id has to be a text or an integer; an error may leave it out")
            elif (status is None or status < 400) and not self._unreadable:
                faults.append("an error without an id, though every request had one that can be read")
            self._unreadable = max(0, self._unreadable - 1)
            if not faults:
                faults = answers.error_faults(self._revision(), message, text.encode(), status)
        if faults:
            self.wrong("", faults, text)
        elif "id" in message:
            self._say_answer(message, text, status)

    def _say_answer(self, message: dict[str, Any], text: str, status: int | None) -> None:
        key = key_of(message["id"])
        asked = self._take(key, message, text)
        if asked is None:
            faults = self._orphan_faults(key, message, text)
            if faults:
                self.wrong("", faults, text)
            return
        if asked.method == "initialize" and "result" in message:
            self._agree(asked, object_at(message, "result"))
        revision = self._revision(asked.stateless)
        if "result" in message:
            faults = answers.result_faults(asked, revision, message, text.encode())
        else:
            faults = answers.error_faults(revision, message, text.encode(), status)
        if faults:
            self.wrong(asked.method, faults, text, revision)
        self._answered.add(key)
        if asked.wants_task and "task" in object_at(message, "result"):
            return  # the progress of a task of 2025-11-25 goes on after it was created
        token = key_of(asked.meta.get("progressToken"))
        for known in (self._progress, self.session.progress):
            if token in known and known[token].asked is asked:
                known[token].over = True

    def _take(self, key: Key, message: dict[str, Any], text: str) -> Asked | None:
        """The request that this answers, which has its answer now."""
        may_answer_all = self._transport == "stream" and self._resumed
        found = [*self._asked.get(key, []), *self.session.asked.get(key, [])]
        found = [asked for asked in found if asked.origin is self or may_answer_all]
        if not found:
            return None
        # An id may be in use twice, when a client errs: then the newer request is refused, and the older one answered.
        if "error" in message:
            found.reverse()
        found.sort(key=lambda asked: asked.cancelled)
        asked = found[0]
        if len(found) > 1 and "result" in message:
            fits = (
                each
                for each in found
                if not answers.result_faults(each, self._revision(each.stateless), message, text.encode())
            )
            asked = next(fits, asked)
        self._forget(key, asked)
        return asked

    def _forget(self, key: Key, asked: Asked) -> None:
        for table in (self._asked, self.session.asked):
            if asked in table.get(key, []):
                table[key].remove(asked)
                if not table[key]:
                    del table[key]

    def _orphan_faults(self, key: Key, message: dict[str, Any], text: str) -> list[str]:
        # On a resumed stream an answer may come again, and what it answers may have gone to another gateway.
        if self._resumed or self._opaque:
            self._opaque = max(0, self._opaque - 1)
            if "error" in message:
                return answers.error_faults(self._revision(), message, text.encode(), None)
            return definitions.any_result().faults(text.encode())
        if self._transport == "stream":
            return ["a response on a stream that was not resumed"]
        return [f"a second answer for the id {key}" if key in self._answered else f"nobody asked with the id {key}"]

    def _agree(self, asked: Asked, result: dict[str, Any]) -> None:
        revision = result.get("protocolVersion")
        self.session.revision = revision if revision in HANDSHAKE else LATEST_HANDSHAKE
        self.session.here = True
        self.session.client = object_at(asked.params, "capabilities")
        self.session.server = object_at(result, "capabilities")

    def _say_request(self, message: dict[str, Any], text: str) -> None:
        method, params = message["method"], object_at(message, "params")
        stateless = self.stateless and (self._transport == "post" or self.session.revision is None)
        if stateless:
            faults = [f"a request of the server; {STATELESS} has none"]
        elif self._too_early():
            faults = ["a request before a revision was agreed on"]
        else:
            faults = self._typed_faults(definitions.request(self._revision(False), method), method, params, text)
            faults = faults or list(notices.request_faults(self.session, message["id"], method, params, self._resumed))
        if faults:
            self.wrong(method, faults, text)

    def _say_notification(self, message: dict[str, Any], text: str) -> None:
        method, params = message["method"], object_at(message, "params")
        stateless = self._tells_stateless(method, params)
        revision = self._revision(stateless)
        if not stateless and self._too_early():
            faults = ["a notification before a revision was agreed on"]
        else:
            faults = self._typed_faults(definitions.notification(revision, method), method, params, text, revision)
        if not faults:
            rules = self._stateless_rules(method, params) if stateless else self._handshake_rules(method, params)
            faults = list(rules)
        if faults:
            self.wrong(method, faults, text, revision)

    def _too_early(self) -> bool:
        return self.session.revision is None

    def _typed_faults(
        self,
        definition: definitions.Definition | None,
        method: str,
        params: dict[str, Any],
        text: str,
        revision: str = "",
    ) -> list[str]:
        if definition is None:
            return ["this revision has nothing of that name for a server to send"]
        return definition.faults(text.encode()) or narrowing.params_faults(
            revision or self._revision(False), method, params
        )

    def _tells_stateless(self, method: str, params: dict[str, Any]) -> bool:
        if self._transport != "websocket":
            return self.stateless
        if SUBSCRIPTION_KEY in object_at(params, "_meta"):
            return True
        if method == PROGRESS and key_of(params.get("progressToken")) in self._progress:
            return True
        if method == CANCELLED and key_of(params.get("requestId")) in self._asked:
            return True
        return self.stateless and self.session.revision is None

    def _stateless_rules(self, method: str, params: dict[str, Any]) -> Iterator[str]:
        waiting = [asked for some in self._asked.values() for asked in some]
        listening = {key_of(asked.id): asked for asked in waiting if asked.method == LISTEN}
        if method == PROGRESS:
            progress = self._progress.get(key_of(params["progressToken"]))
            yield from notices.progress_faults(progress, params)
            if progress is not None and progress.asked.method == LISTEN:
                yield "progress of a subscription; it delivers what it is for and nothing else"
        elif method == "notifications/message":
            yield from notices.log_faults([asked for asked in waiting if asked.method != LISTEN], params)
        elif method == CANCELLED:
            ended = listening.get(key_of(params.get("requestId")))
            if ended is None:
                yield f"cancels {params.get('requestId')!r}, which is no open subscription"
            else:
                self._forget(key_of(ended.id), ended)
        else:
            yield from notices.subscription_faults(listening, method, params)

    def _handshake_rules(self, method: str, params: dict[str, Any]) -> Iterator[str]:
        if method != PROGRESS:
            yield from notices.handshake_faults(self.session, method, params, self._transport != "stream")
            return
        progress = self.session.progress.get(key_of(params["progressToken"]))
        # The request may have gone to another gateway, and a resumed stream repeats.
        if not self._resumed and not (progress is None and self._transport == "stream"):
            yield from notices.progress_faults(progress, params)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
