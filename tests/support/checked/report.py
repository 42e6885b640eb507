"""Where violations go: to stderr, to a file that survives a killed process, and into the exit status."""

import os
import sys
from pathlib import Path

EXIT_VIOLATION = 86
"""The exit status of a process that has sent anything wrong."""

REPORT_VARIABLE = "CHECKED_REPORT"
"""Names the file; without it there is none."""

MAX_MESSAGE = 500
"""Characters of a message that are quoted."""


class Report:
    """The violations of one process.

    Args:
        path: A file that each violation is appended to; several processes may share one. It is made by the first
            violation, and made again when somebody has taken it away.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.violations = 0
        self._path = path

    @classmethod
    def from_environment(cls) -> "Report":
        """One that writes to the file named by `CHECKED_REPORT`, if that is set."""
        path = os.environ.get(REPORT_VARIABLE)
        return cls(Path(path) if path else None)

    def add(self, revision: str, method: str, faults: list[str], message: str) -> None:
        """Note a message that is wrong, as one line, before anything else happens.

        Args:
            revision: In force for it.
            method: Of the message, or of the request that it answers.
            faults: What is wrong.
            message: The message as it was sent.
        """
        self.violations += 1
        quoted = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"
        line = f"violation: {revision} {method or '-'}: {'; '.join(faults)} | {quoted}"
        data = line.encode("utf-8", "backslashreplace").replace(b"\r", b"\\r").replace(b"\n", b"\\n") + b"\n"
        # One unbuffered write each: a line is whole in the log and in the file, whatever kills the process next.
        os.write(sys.stderr.fileno(), data)
        if self._path is not None:
            with self._path.open("ab", buffering=0) as file:
                file.write(data)
