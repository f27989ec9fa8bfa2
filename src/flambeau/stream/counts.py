"""How often what happened: kernels, plans, runs."""

from __future__ import annotations

import struct

# hits, runs, launches and units that builtins have counted since somebody looked, in words
TALLY = bytearray(32)


class Counts(dict[str, int]):
    """How often what happened; what builtins have counted is added when somebody looks."""

    def __getitem__(self, name: str) -> int:
        if any(TALLY):
            more = struct.unpack("=4q", TALLY)
            TALLY[:] = bytes(32)
            for key, n in zip(("hits", "runs", "launches", "units"), more):
                self[key] = self.get(key, 0) + n
        return super().__getitem__(name)

    def add(self, name: str, n: int) -> None:
        """Count, without a look at what builtins have counted."""
        self[name] = self.get(name, 0) + n


STATS = Counts(kernels=0, planned=0, runs=0, launches=0, hits=0, units=0)
