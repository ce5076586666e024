"""A broker in a folder, for development and tests."""

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem


class Channel(filesystem.Channel):
    # Bends kombu 5.7: it writes a message into the folder where a reader takes it at once, complete or not, and fails;
    # remove when kombu writes messages elsewhere and renames them into place.
    def _put(self, queue: str, payload: Any, **_kwargs: Any) -> None:  # type: ignore[override]
        name = f"{time.monotonic_ns()}_{uuid4()}.{queue}.msg"
        hidden = Path(self.control_folder, name)
        hidden.write_text(json.dumps(payload))
        hidden.rename(Path(self.data_folder_out, name))


class Transport(filesystem.Transport):
    Channel = Channel
