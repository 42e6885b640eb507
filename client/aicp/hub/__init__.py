"""The all-in-one hub: NATS, Redis and the four services as processes of one machine, under one supervisor.

In the order of a start: `command` turns options into a plan, `datadir` holds the data, `ports` and `binaries` find what
is needed, `servers` and `services` say what to start, `supervisor` runs one `process` for each, `output` carries their
lines, and `welcome` tells the user how to connect.
"""
