"""Sources of vectors."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from aicp_router.matching.embedding import E5, Cached, EmbeddingFailed, Model2Vec, OpenAICompatible, Vectors
from tests.load.certificate import self_signed


@dataclass
class Service:
    """A small embeddings service; what it was asked, and how it shall answer."""

    url: str
    asked: list[tuple[dict[str, object], str | None]] = field(default_factory=list)
    answer: bytes | None = None
    status: int = 200


@pytest.fixture
def service() -> Iterator[Service]:
    """It answers each text with its length and 1, in reverse order, as the API allows."""
    found = Service("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append((asked, self.headers["Authorization"]))
            rows = [{"index": place, "embedding": [len(text), 1]} for place, text in enumerate(asked["input"])]
            body = found.answer if found.answer is not None else json.dumps({"data": rows[::-1]}).encode()
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/v1/embeddings"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_openai_compatible_service_is_asked_and_its_order_restored(service: Service) -> None:
    vectors = OpenAICompatible(service.url, "small", key="secret").embed(["abc", "a"])
    assert service.asked == [({"model": "small", "input": ["abc", "a"]}, "Bearer secret")]
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [np.array([3, 1]) / 10**0.5, np.array([1, 1]) / 2**0.5])


@pytest.mark.parametrize(
    "answer", [b"no json", b"[]", b'{"data": []}', b'{"data": [{"index": 0, "embedding": ["x"]}]}', b'{"data": [1]}']
)
def test_an_answer_that_is_no_list_of_embeddings_is_told(service: Service, answer: bytes) -> None:
    service.answer = answer
    with pytest.raises(EmbeddingFailed, match="no list of embeddings"):
        OpenAICompatible(service.url, "small").embed(["abc"])


def test_a_refusal_is_told_with_its_status(service: Service) -> None:
    service.status = 401
    with pytest.raises(EmbeddingFailed, match="HTTP 401"):
        OpenAICompatible(service.url, "small").embed(["abc"])


def test_a_service_that_is_not_there_is_told() -> None:
    with pytest.raises(EmbeddingFailed, match="refused"):
        OpenAICompatible("http://127.0.0.1:1/v1/embeddings", "small").embed(["abc"])
    with pytest.raises(EmbeddingFailed, match="expected http"):
        OpenAICompatible("file:///etc/passwd", "small")


@contextmanager
def answering(at_once: bytes, drop_by_drop: bytes, certificate: Path | None = None) -> Iterator[str]:
    """The URL of a service that says this to whoever comes, the second part byte by byte, again and again."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
    if tls and certificate:
        tls.load_cert_chain(certificate)
    ended = threading.Event()

    def answer(listener: socket.socket) -> None:
        with suppress(OSError), listener.accept()[0] as plain, greeted(plain) as client:
            asked = client.recv(65_536)
            # A request whole: whoever closes a connection with something unread in it, resets it.
            while asked.startswith(b"POST") and not asked.endswith(b"}"):
                asked += client.recv(65_536)
            client.sendall(at_once)
            while drop_by_drop and not ended.is_set():
                for byte in drop_by_drop:
                    client.sendall(bytes([byte]))
                    if ended.wait(0.02):
                        return

    def greeted(client: socket.socket) -> socket.socket:
        return tls.wrap_socket(client, server_side=True) if tls else client

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}/v1/embeddings"
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    ("at_once", "drop_by_drop"),
    [
        (b"", b"HTTP/1.1 200 OK"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: a long one "),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["status line", "header line", "header lines", "body", "chunks"],
)
def test_a_service_that_answers_byte_by_byte_has_no_more_time_than_others(at_once: bytes, drop_by_drop: bytes) -> None:
    with answering(at_once, drop_by_drop) as url:
        began = time.monotonic()
        with pytest.raises(EmbeddingFailed, match=r"no answer within 0\.5 s"):
            OpenAICompatible(url, "small", timeout_s=0.5).embed(["abc"])
        assert time.monotonic() - began < 1.5


def test_over_tls_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path)
    body = json.dumps({"data": [{"index": 0, "embedding": [3, 4]}]}).encode()
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with answering(whole, b"", certificate) as url, pytest.raises(EmbeddingFailed, match="CERTIFICATE_VERIFY_FAILED"):
        OpenAICompatible(url, "small").embed(["abc"])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with answering(whole, b"", certificate) as url:
        assert np.allclose(OpenAICompatible(url, "small").embed(["abc"]), [[0.6, 0.8]])
    began = time.monotonic()
    with (
        answering(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", certificate) as url,
        pytest.raises(EmbeddingFailed, match="no answer"),
    ):
        OpenAICompatible(url, "small", timeout_s=0.5).embed(["abc"])
    # The first drops are no handshake.
    with answering(b"", b"\x16\x03\x03\x40") as url, pytest.raises(EmbeddingFailed, match="no answer"):
        OpenAICompatible(url.replace("http:", "https:"), "small", timeout_s=0.5).embed(["abc"])
    assert time.monotonic() - began < 3


def test_a_service_that_does_not_read_has_no_more_time_than_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1/embeddings"
        with pytest.raises(EmbeddingFailed, match=r"no answer within 0\.5 s"):
            OpenAICompatible(url, "small", timeout_s=0.5).embed(["x" * 2_000] * 5_000)


@pytest.mark.parametrize(
    ("answer", "told"),
    [(b"SSH-2.0-OpenSSH\r\n", "no HTTP"), (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2_000_000, "more than")],
)
def test_what_cannot_be_an_answer_is_told(monkeypatch: pytest.MonkeyPatch, answer: bytes, told: str) -> None:
    monkeypatch.setattr("aicp_router.matching.embedding._MOST_BYTES", 1_000_000)
    with answering(answer, b"") as url, pytest.raises(EmbeddingFailed, match=told):
        OpenAICompatible(url, "small").embed(["abc"])


class Counting:
    """Notes what it was asked."""

    most_texts = 8
    most_calls = 1

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked.append(list(texts))
        return np.array([[len(text), 1] for text in texts], np.float32)


def test_texts_are_embedded_once_and_the_longest_unasked_gives_way() -> None:
    counting = Counting()
    cached = Cached(counting, capacity=2)
    first = cached.embed(["a", "bb", "a"])
    assert counting.asked == [["a", "bb"]]
    assert first.tolist() == [[1, 1], [2, 1], [1, 1]]
    cached.embed(["a"])
    cached.embed(["ccc"])
    cached.embed(["a", "bb"])
    assert counting.asked == [["a", "bb"], ["ccc"], ["bb"]]
    assert cached.embed([]).shape[0] == 0
    kept = cached.kept("bb")
    assert kept is not None
    assert kept.tolist() == [2, 1]
    assert cached.kept("ccc") is None


def test_a_model2vec_model_embeds(tmp_path: Path) -> None:
    from model2vec import StaticModel
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[UNK]": 0, "cake": 1, "bread": 2, "law": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    table = np.array([[0.1, 0.1], [1, 0], [0.9, 0.1], [0, 1]], np.float32)
    StaticModel(table, tokenizer).save_pretrained(tmp_path)

    vectors = Model2Vec(str(tmp_path)).embed(["cake", "bread", "law"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingFailed, match="cannot load"):
        Model2Vec(str(tmp_path))


def test_the_bundled_model_brings_languages_together() -> None:
    vectors = E5().embed(["이 문장을 번역해 주세요", "please translate this sentence", "a recipe for apple pie"])
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
