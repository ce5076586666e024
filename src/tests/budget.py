"""How much the random tests try: little and always the same in `make test`, much and each time new in `make fuzz`."""

import os

SEED = int(os.environ.get("SEED") or 1)
EXAMPLES = int(os.environ.get("EXAMPLES") or 5)
CROWD_SECONDS = int(os.environ.get("CROWD_SECONDS") or 3)
