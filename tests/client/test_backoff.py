"""How long the bridge waits before it tries again."""

from aicp.connect.backoff import Backoff


def test_delays_grow_from_a_tenth_of_a_second_to_ten_seconds() -> None:
    for _ in range(100):
        backoff = Backoff()
        delays = [backoff.next() for _ in range(20)]
        assert all(0.1 <= delay <= 10 for delay in delays)
        assert delays[0] <= 0.2
        for number, delay in enumerate(delays):
            longest = min(10, 0.2 * 2**number)
            assert longest / 2 <= delay <= longest


def test_they_differ_from_client_to_client() -> None:
    assert len({Backoff().next() for _ in range(20)}) > 10


def test_only_a_connection_that_held_begins_anew() -> None:
    backoff = Backoff()
    for _ in range(20):
        backoff.next()
    backoff.lasted(9)
    assert backoff.next() >= 5
    backoff.lasted(10)
    assert backoff.next() <= 0.2
