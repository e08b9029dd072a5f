"""The names that files have for verdicts and for where figures come from. When each is given is in verdicts.py."""

from typing import Literal, get_args

Verdict = Literal["failed", "contaminated", "client_limited", "failing", "saturated", "shedding", "valid"]
Source = Literal["measured", "simulated"]

VERDICTS: tuple[str, ...] = get_args(Verdict)
