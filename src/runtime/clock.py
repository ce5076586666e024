"""How long something has lasted, whatever happens to the machine's time of day."""

import time

# Goes on while the machine sleeps, and nobody can set it back. Where the name is missing, CLOCK_MONOTONIC does that.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    return time.clock_gettime(CLOCK)
