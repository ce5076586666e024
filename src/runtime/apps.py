from django.apps import AppConfig
from prometheus_client import disable_created_metrics

from runtime import telemetry


class RuntimeConfig(AppConfig):
    name = "runtime"

    def ready(self) -> None:
        disable_created_metrics()
        # Here, because every process passes here before Django loads its middleware.
        telemetry.start()
