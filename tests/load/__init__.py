"""The parts of the load test.

In the order of a run: `command` and `options` say what is wanted, `mix` and `calls` what is called, `clients` connect
(with `websocket_connection`, `http_connection`, `event_stream` and `message` under them), `workers` do the work that is
handed over, `run` keeps the pace, `tally` and `histogram` count, `live` shows it while it goes on, and `report` says
what was measured.
"""
