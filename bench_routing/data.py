"""The data: agents, messages, and who should get which."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aicp_router.matching.embedding import Embedder, Vectors
from aicp_router.matching.index import Described

FILES = ("agents.jsonl", "queries.jsonl", "multilingual_agents.jsonl", "multilingual_queries.jsonl")


class DataAbsent(Exception):
    """The folder does not hold the files."""


@dataclass(frozen=True)
class Set:
    """Agents by name, and messages with the agent that each is for."""

    agents: dict[str, Described]
    messages: list[str]
    right: list[str]

    def of_agents(self, names: set[str]) -> "Set":
        """The part that concerns some agents only."""
        kept = [place for place, name in enumerate(self.right) if name in names]
        return Set(
            {name: profile for name, profile in self.agents.items() if name in names},
            [self.messages[place] for place in kept],
            [self.right[place] for place in kept],
        )


def load(folder: Path, prefix: str = "") -> Set:
    """Read one set.

    Raises:
        DataAbsent: a file is not there.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataAbsent(f"{folder} has no {', '.join(missing)}: name the folder with --data")
    agents = [json.loads(line) for line in (folder / f"{prefix}agents.jsonl").read_text("utf-8").splitlines()]
    queries = [json.loads(line) for line in (folder / f"{prefix}queries.jsonl").read_text("utf-8").splitlines()]
    first: dict[str, str] = {row["message"]: row["agent"] for row in queries}
    return Set(
        {row["agent"]: Described(tuple(row.get("capabilities", ())), row["description"]) for row in agents},
        # A message that comes twice would be measured after it was learned from.
        list(first),
        list(first.values()),
    )


class Vault:
    """Vectors that are worked out once and, if a file is named, kept for the next run."""

    def __init__(self, embedder: Embedder, file: Path | None) -> None:
        self._embedder = embedder
        self._file = file
        self._vectors: dict[str, NDArray[np.float32]] = {}
        if file is not None and file.is_file():
            with np.load(file) as kept:
                self._vectors = dict(zip(kept["texts"].tolist(), kept["vectors"], strict=True))

    def embed(self, texts: list[str]) -> Vectors:
        """The vectors of `texts`."""
        missing = list(dict.fromkeys(text for text in texts if text not in self._vectors))
        for start in range(0, len(missing), 32):
            some = missing[start : start + 32]
            self._vectors |= dict(zip(some, self._embedder.embed(some), strict=True))
        if missing and self._file is not None:
            names = np.array(list(self._vectors))
            np.savez(self._file, texts=names, vectors=np.stack(list(self._vectors.values())))
        return np.stack([self._vectors[text] for text in texts])
