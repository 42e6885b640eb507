"""The check of slots finds what it is for."""

from pathlib import Path

from tests.support.redis_servers import client, redis_server
from tests.support.slots import across_slots, monitored


def test_commands_scripts_and_transactions_of_two_slots_are_found(tmp_path: Path) -> None:
    with redis_server(tmp_path) as port, client(port) as redis:
        with monitored(port) as steps:
            redis.mset({"a:{x}": 1, "b:{x}": 'quotes " and \\ and \n'})
            redis.mset({"a:{x}": 1, "a:{y}": 1})
            redis.eval("redis.call('SET', 'c:{x}', 1) return redis.call('GET', KEYS[1])", 1, "a:{x}")
            redis.eval("return redis.call('GET', 'c:{y}')", 1, "a:{x}")
            with redis.pipeline(transaction=True) as pipe:
                pipe.get("d:{x}")
                pipe.get("d:{y}")
                pipe.execute()
            with redis.pipeline(transaction=False) as pipe:
                pipe.get("e:{x}")
                pipe.get("e:{y}")
                pipe.execute()
            redis.echo("a:{x} b:{y}")
        found = across_slots(port, steps)
    assert [step.commands[0][0] for step in found] == ["MSET", "EVAL", "MULTI"]
    assert "a:{y}" in str(found[0])
    assert "c:{y}" in str(found[1])
    assert "d:{y}" in str(found[2])
