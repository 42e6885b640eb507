"""A small service with OpenAI's embeddings API, for tests: texts of one subject are alike, whatever their words."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SUBJECTS = (
    ("sourdough", "oven", "bakes", "croissants"),
    ("tribunal", "litigation", "sue", "landlord"),
    ("violin", "orchestra", "sonata", "composes"),
)
"""Words of one line share no stem and no 4-gram, so that nothing but a vector brings them together."""


def vector_of(text: str) -> list[float]:
    """One dimension a subject, and one for everything else."""
    lowered = text.casefold()
    return [float(any(word in lowered for word in words)) for words in SUBJECTS] + [0.1]


class EmbeddingService:
    """Answers on a port of loopback. It can be held, so that answers wait, and made to refuse."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[str] = []
        """Every text, in the order in which they came."""
        self.keys: set[str] = set()
        """The bearer tokens that were sent."""
        self.calls = 0
        self.status = 200
        self._heard = threading.Condition()
        self._free = threading.Event()
        self._free.set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with service._heard:
                    service.asked += body["input"]
                    service.calls += 1
                    service.keys.add(self.headers.get("Authorization", ""))
                    service._heard.notify_all()
                service._free.wait(30)
                vectors = [{"index": place, "embedding": vector_of(text)} for place, text in enumerate(body["input"])]
                answer = json.dumps({"data": vectors, "model": body["model"]}).encode()
                self.send_response(service.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        """For `EMBEDDER`."""
        return f"http://127.0.0.1:{self.port}/v1/embeddings"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Answers wait meanwhile."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def wait_for(self, text: str, patience_s: float = 20.0) -> None:
        """Return when a text was asked for that has `text` in it."""
        with self._heard:
            assert self._heard.wait_for(lambda: any(text in one for one in self.asked), patience_s), self.asked

    def close(self) -> None:
        """Listen no more."""
        self._free.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def embedding_service(port: int = 0) -> Iterator[EmbeddingService]:
    """One that is closed at the end."""
    service = EmbeddingService(port)
    try:
        yield service
    finally:
        service.close()
