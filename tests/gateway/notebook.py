"""The plug-in's notebook: what its tools did, for tests that wait for it."""

import asyncio


class Notebook:
    """Entries, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self._written = asyncio.Condition()

    async def write(self, entry: str) -> None:
        """Add an entry."""
        async with self._written:
            self.entries.append(entry)
            self._written.notify_all()

    async def wait_for(self, entry: str) -> None:
        """Wait until it is there."""
        async with self._written:
            await self._written.wait_for(lambda: entry in self.entries)
