"""The form of the messages that radios carry."""

from __future__ import annotations

from typing import Any, TypeAlias

from parsl.monitoring.message_type import MessageType

TaggedMonitoringMessage: TypeAlias = tuple[MessageType, dict[str, Any]]
AddressedMonitoringMessage: TypeAlias = tuple[TaggedMonitoringMessage, str | int]
