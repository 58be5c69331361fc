"""How long to wait before the next try: exponential with full jitter, so that tries never march in step.

Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random

LONGEST_S = 900.0


def wait_s(attempt: int, *, base_s: float, asked_s: float | None = None, longest_s: float = LONGEST_S) -> float:
    """Seconds until try ``attempt + 1``; at least what the other side asked for, at most LONGEST_S.

    ``longest_s`` bounds what nobody asked for.
    """
    jittered = random.uniform(0, min(longest_s, base_s * 2.0 ** min(attempt, 20)))
    return min(LONGEST_S, max(jittered, asked_s or 0.0))
