"""How much is left to chance: little and the same in each `make test`, much and something else in each `make fuzz`."""

import os

SEED = int(os.environ.get("SEED") or 1)
EXAMPLES = int(os.environ.get("EXAMPLES") or 5)
CROWD_SECONDS = int(os.environ.get("CROWD_SECONDS") or 3)
