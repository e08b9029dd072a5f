"""The row of a scenario: how many requests ended how. Pure; what each column means is in __init__.py."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ragbench.chaos.exchange import Exchange, why_lost

LONGEST_RECOVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Tally:
    """The fields but the last three are the columns of chaos.csv, in order. None: not known, or not applicable.

    `figures`: what only this scenario measures, by name. `notes`: why requests were lost. `failures`: what went wrong
    with the scenario as a whole.
    """

    scenario: str
    sent: int
    answered: int
    rejected: int
    retried: int | None
    lost: int
    duplicated: int | None
    late: int
    refused: int
    recovery_s: float | None
    orphans: int
    figures: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Something was answered; nothing was lost, answered twice or left behind; the fleet recovered in time."""
        is_late = self.recovery_s is not None and self.recovery_s > LONGEST_RECOVERY_S
        return self.answered > 0 and not (self.lost or self.duplicated or self.orphans or self.failures or is_late)


def fates(exchanges: Sequence[Exchange], *, late_s: float) -> dict[str, int]:
    """The columns that the requests themselves decide."""
    counts = Counter(it.fate for it in exchanges)
    late = sum(it.latency_s > late_s for it in exchanges if it.latency_s is not None)
    return {
        "sent": len(exchanges) - counts["unsent"],
        **{fate: counts[fate] for fate in ("answered", "rejected", "lost")},
        "late": late,
    }


def told(exchanges: Iterable[Exchange]) -> tuple[str, ...]:
    """Why requests were lost, the most frequent reason first, and how many were never sent."""
    everything = list(exchanges)
    reasons = Counter(why_lost(it) for it in everything if it.fate == "lost")
    notes = [f"{count} lost: {reason}" for reason, count in reasons.most_common()]
    unsent = sum(it.fate == "unsent" for it in everything)
    return (*notes, f"{unsent} not sent: this client could not") if unsent else tuple(notes)
