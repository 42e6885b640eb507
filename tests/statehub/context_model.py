"""Contexts as they should be: a model in plain Python, beside which the scripts are held."""

from dataclasses import dataclass, field

DROPPED = ("!",)

Seen = tuple[int, str | None, str, tuple[str, ...]]
"""Version, value (None: deleted), author, readers (`DROPPED`: it is not kept, only its place)."""


@dataclass
class Name:
    """One name and all that was ever under it, as long as it is remembered."""

    version: int = 0
    value: str | None = None
    author: str = ""
    readers: tuple[str, ...] = ()
    lapsed: bool = False
    """Its time is over, and nobody has removed it yet."""
    old: list[Seen] = field(default_factory=list)
    """What is kept of it, newest first."""
    change: int = 0
    buried: int = 0
    """When it was deleted, in the order of deletions."""

    @property
    def live(self) -> bool:
        return self.value is not None and not self.lapsed

    @property
    def shown_version(self) -> int:
        return self.version + self.lapsed

    def may(self, agent: str) -> bool:
        return not self.readers or agent in self.readers

    def bytes(self) -> int:
        return len(self.value or "") + len(",".join(self.readers)) + self.kept_bytes()

    def kept_bytes(self) -> int:
        return sum(map(_size, self.old))


def _size(seen: Seen) -> int:
    version, value, author, readers = seen
    # Times have 13 digits until the year 2286.
    return len(f"{version} {'0' * 13} {author} {','.join(readers) or '-'}") + (0 if value is None else 1 + len(value))


@dataclass
class Model:
    """The contexts of one tenant."""

    max_keys: int
    max_bytes: int
    versions: int
    history_bytes: int
    names: dict[str, Name] = field(default_factory=dict)
    revision: int = 0
    forgotten: int = 0
    burials: int = 0

    def write(
        self, name: str, value: str, author: str, expected: int | None, readers: tuple[str, ...], lapses: bool
    ) -> str:
        """What happens, and that it has."""
        at = self._settled(name)
        if at.live and not at.may(author):
            return "forbidden"
        if not _expects(expected, at):
            return "conflict"
        if not at.live and sum(other.value is not None for other in self.names.values()) >= self.max_keys:
            return "full"
        keep = self.versions - 1
        before = at.bytes()
        if self.bytes + len(value) > self.max_bytes:
            if self.bytes - before + len(value) > self.max_bytes:
                return "large"
            keep = 0
        if not readers:
            readers = at.readers if at.live else ()
        elif readers == ("*",):
            readers = ()
        self._shelve(at, keep)
        at.version, at.value, at.author, at.readers, at.lapsed = at.version + 1, value, author, readers, lapses
        self._changed(name, at)
        return "done"

    def delete(self, name: str, author: str, expected: int | None, with_history: bool) -> str:
        at = self._settled(name)
        if not at.may(author):
            return "forbidden" if at.live else "absent"
        if not _expects(expected, at):
            return "conflict"
        if not at.live:
            if with_history and at.old:
                _clear(at, author)
                return "cleared"
            return "absent"
        self._bury(name, at, author, clears=with_history)
        return "done"

    def expire(self, name: str) -> bool:
        lapsed = name in self.names and self.names[name].lapsed
        self._settled(name)
        return lapsed

    def forget(self, name: str) -> None:
        """The time of a tombstone is over."""
        self.forgotten = max(self.forgotten, self.names.pop(name).change)

    @property
    def bytes(self) -> int:
        return sum(at.bytes() for at in self.names.values())

    def read(self, name: str, agent: str) -> tuple[int, str | None]:
        at = self.names.get(name, Name())
        if not at.may(agent):
            return 0, None
        return at.shown_version, at.value if at.live else None

    def version(self, name: str, number: int, agent: str) -> tuple[str, str | None]:
        at = self.names.get(name, Name())
        if not at.may(agent) or not at.shown_version:
            return "absent", None
        if number > at.shown_version:
            return "later", None
        if number == at.shown_version:
            return ("found", at.value) if at.live else ("deleted", None)
        for version, value, _, readers in [(at.version, at.value, at.author, at.readers), *at.old]:
            if version == number:
                if readers == DROPPED:
                    return "dropped", None
                if readers and agent not in readers:
                    return "absent", None
                return "deleted" if value is None else "found", value
        return "dropped", None

    def changes(self, since: int, agent: str) -> tuple[list[tuple[str, int, bool]], bool]:
        """Names with their versions and whether they are gone, in the order of their last changes; and whether that is
        everything."""
        found = sorted((at.change, name) for name, at in self.names.items() if at.change > since and at.may(agent))
        shown = [(name, self.names[name].shown_version, not self.names[name].live) for _, name in found]
        return shown, since == 0 or since >= self.forgotten

    def _settled(self, name: str) -> Name:
        at = self.names.get(name, Name())
        if at.lapsed:
            self._bury(name, at, "statehub")
            # Burying it may have been the end of another tombstone, or of this one.
            return self.names.get(name, Name())
        return at

    def _bury(self, name: str, at: Name, author: str, *, clears: bool = False) -> None:
        self._shelve(at, self.versions - 1)
        if clears:
            _clear(at, author)
        at.version, at.value, at.author, at.lapsed = at.version + 1, None, author, False
        self.burials += 1
        at.buried = self.burials
        self._changed(name, at)
        dead = [other for other, one in self.names.items() if one.value is None]
        if len(dead) > self.max_keys:
            self.forget(min(dead, key=lambda other: self.names[other].buried))

    def _shelve(self, at: Name, keep: int) -> None:
        if not at.version:
            return
        at.old.insert(0, (at.version, at.value, at.author, at.readers))
        while at.old and (len(at.old) > keep or at.kept_bytes() > self.history_bytes or not keep):
            at.old.pop()

    def _changed(self, name: str, at: Name) -> None:
        self.revision += 1
        at.change = self.revision
        self.names[name] = at


def _clear(at: Name, agent: str) -> None:
    """Drop the old versions that an agent may read; places stay as long as something of others is between them."""
    at.old = [
        (version, None, author, DROPPED) if readers == DROPPED or not readers or agent in readers else seen
        for seen in at.old
        for version, _, author, readers in [seen]
    ]
    if all(readers == DROPPED for *_, readers in at.old):
        at.old.clear()


def _expects(expected: int | None, at: Name) -> bool:
    return expected is None or expected == at.version or (expected == 0 and not at.live)
