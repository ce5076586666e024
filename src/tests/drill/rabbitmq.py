"""A RabbitMQ of the drill's own, which can be killed, frozen and filled."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from kombu import Connection

from tests.acceptance.service import wait_until
from tests.local import free_port


class RabbitMQ:
    def __init__(self, folder: Path) -> None:
        servers = (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), shutil.which("rabbitmq-server"))
        self.server = next((str(path) for path in servers if path and Path(path).exists()), None)
        assert self.server, "RabbitMQ is not installed here"
        self.folder, self.port = folder, free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        folder.mkdir()
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        (folder / "plugins").write_text("[].")
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"drill{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": str(folder / "log.txt"),
        }

    def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [str(self.server)], env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        wait_until(self.is_up, 60)

    def is_up(self) -> bool:
        try:
            with self.connect():
                return True
        except OSError:
            return False

    def connect(self) -> Any:
        connection = Connection(self.url, connect_timeout=2)
        connection.connect()
        return connection

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def control(self, *arguments: str) -> str:
        command = [str(self.server).replace("rabbitmq-server", "rabbitmqctl"), "-q", *arguments]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
        return result.stdout

    def fill(self) -> None:
        self.control("set_disk_free_limit", "1000000GB")

    def empty(self) -> None:
        self.control("set_disk_free_limit", "50MB")

    def census(self) -> dict[str, int]:
        return {
            "connections to RabbitMQ": len(self.control("list_connections", "pid").split()) - 1,
            "queues": len(self.control("list_queues", "name").split()) - 1,
        }
