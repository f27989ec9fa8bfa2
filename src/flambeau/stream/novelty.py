"""Whether a sequence is worth planning as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .program import STATS

if TYPE_CHECKING:
    from .known import Known


class Novelty:
    """How often keys were new of late. Where most are (trees, random depth), a sequence must come more often before it
    is planned as a whole, and once no instruction has been new for a while, only from kernels that exist: others would
    be compiled for nothing."""

    level = 0.0  # the share of new keys among those without a program
    unplanned = 1.0  # the share of flushes without a program among the last few, all as large as those are
    settled = 0  # new sequences since an instruction was planned for the first time
    flushes = 0  # those without a program so far
    launches, size = 0, 1  # of all flushes up to the end of the last of them, and of that one
    earned = 50_000  # calls of programs that have paid for no planning yet, and a credit
    HIGH, SETTLED = 0.3, 64
    # Planning an instruction takes as long as so many calls of small programs; a sequence that comes again within a few
    # flushes is expected to go on doing so for some thousand: most programs of ever other lengths (masks, episodes,
    # beams) end before a plan has earned more than that, and their fragments serve them nearly as well.
    PLANNING, HORIZON, DOUBT, CALM = 30, 2000, 40, 0.6
    # how many plans are looked back on, and how often a loop must come where they earned nothing
    BETS, PATIENCE = 8, 12
    # how many flushes had had programs when sequences that came again at once were planned
    bets: list[int] = []
    PRICE = 120  # calls by programs for each instruction planned out of turn, which takes about as long

    @classmethod
    def note(cls, new: bool) -> int:
        """A key without a program came, a new one or not; the number of this flush."""
        cls.level += ((1.0 if new else 0.0) - cls.level) * 0.02
        cls.settled += new
        launches = STATS["launches"]  # and what builtins have counted is added to all of them
        planned = max(launches - cls.launches, 0)
        cls.earned += planned
        cls.unplanned *= 0.9 ** min(planned / cls.size, 100)
        cls.unplanned += (1 - cls.unplanned) * 0.1
        cls.launches = launches
        cls.flushes += 1
        return cls.flushes + STATS.get("hits", 0)

    @classmethod
    def ran(cls) -> None:
        """The flush that was noted last is over."""
        launches = STATS["launches"]
        cls.launches, cls.size = launches, max(launches - cls.launches, 1)

    @classmethod
    def plans(cls, known: Known, now: int, pending: int) -> bool:
        """Whether a sequence has come often enough: a program may be expected to earn what planning it takes.

        A loop of fixed shape brings its sequence again at once; so do a few steps on each of ever new sizes, and once
        the last plans of such loops earned nothing, they must come more often. Where most flushes of late had programs,
        one more may take as long as those did since another was paid for. Any other has come as often as it may be
        expected to come (the rule of who rents skis), or often within few flushes."""
        if known.seen < (2 if cls.level < cls.HIGH else cls.PATIENCE):
            return False
        if now - known.last <= 2:
            hits = now - cls.flushes
            lost = len(cls.bets) == cls.BETS and hits - cls.bets[0] < cls.BETS * cls.PLANNING
            if lost and known.seen < cls.PATIENCE:
                return False
            cls.bets = [*cls.bets[1 - cls.BETS :], hits]
            return True
        if cls.unplanned < cls.CALM and cls.earned >= cls.PRICE * known.size:
            cls.earned -= cls.PRICE * known.size
            return True
        uses = max(known.seen, cls.HORIZON * (known.seen - 1) // (now - known.first + cls.DOUBT))
        return uses * (known.calls + (pending >> 16)) >= cls.PLANNING * known.size

    @classmethod
    def compiling(cls) -> bool:
        """Whether what several instructions share may have kernels compiled."""
        return cls.level < cls.HIGH or cls.settled < cls.SETTLED
