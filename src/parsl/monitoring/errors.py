"""Errors of monitoring."""

from __future__ import annotations

from parsl.errors import ParslError


class MonitoringHubStartError(ParslError):
    """Monitoring could not be started: the database cannot be opened, or its process does not start."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"Monitoring cannot start: {self.reason}" if self.reason else "Monitoring cannot start"


class MonitoringRouterStartError(MonitoringHubStartError):
    """The receiver of a radio could not be started."""


class RadioRequiredError(ParslError):
    """An executor samples the resources of its tasks, but has no radio to send them by."""

    def __init__(self, label: str = "") -> None:
        super().__init__(label)
        self.label = label

    def __str__(self) -> str:
        return (
            f"Executor {self.label!r} has no remote_monitoring_radio, which resource monitoring needs: give it one, "
            "such as UDPRadio() or FilesystemRadio(), or use MonitoringHub(resource_monitoring_enabled=False)"
        )
