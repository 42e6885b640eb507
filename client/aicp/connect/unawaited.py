"""Threads that nobody waits for at the end."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Unawaited(ThreadPoolExecutor):
    """An executor for looking up names: that can take half a minute without a network, and the client has gone by then.

    A subclass of the one that event loops insist on; each call has a thread of its own.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in a new thread."""
        future: Future[T] = Future()
        threading.Thread(target=_run, args=(future, lambda: fn(*args, **kwargs)), daemon=True).start()
        return future


def _run(future: "Future[T]", call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
