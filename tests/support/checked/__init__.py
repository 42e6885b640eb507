"""The gateway with a judge inside: every message that it sends is checked against the schema of its revision.

`python -m tests.support.checked` is `python -m aicp_gateway` with its application wrapped. What it sends is not
changed. Each violation is one line on stderr, and in the file that `CHECKED_REPORT` names; a process that has sent
anything wrong ends with the exit status 86. A test that makes a service say wrong things on purpose runs the plain
gateway: there is no list of exceptions.
"""
