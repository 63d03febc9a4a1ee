"""Machines of EC2: what is asked for, and what EC2 says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parsl.jobs.states import JobState, JobStatus

__all__ = ["describe", "end_of", "market_options"]


def market_options(spot_max_bid: float) -> dict[str, Any]:
    """Ask for a spot machine, that EC2 may take back, at a highest price in US dollars an hour."""
    options = {"MaxPrice": str(spot_max_bid), "SpotInstanceType": "one-time"}
    return {"MarketType": "spot", "SpotOptions": options}


def describe(client: Any, filters: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Describe the machines that pass all filters, by their ids; a filter that fits none is no error.

    Args:
        client: EC2 client of boto3.
        filters: EC2's name of the filter, and what may pass.
    """
    pages = client.get_paginator("describe_instances").paginate(
        Filters=[{"Name": key, "Values": list(values)} for key, values in filters.items()]
    )
    machines = [machine for page in pages for r in page["Reservations"] for machine in r["Instances"]]
    return {str(machine["InstanceId"]): machine for machine in machines}


def end_of(machine: Mapping[str, Any]) -> tuple[JobStatus | None, str]:
    """Tell how a machine ended that is stopped or terminated, and not by us.

    Args:
        machine: Its description.

    Returns:
        The status, None if the machine has switched itself off; and EC2's reason.
    """
    why = machine.get("StateReason", {})
    code = str(why.get("Code", ""))
    reason = str(why.get("Message") or machine.get("StateTransitionReason") or machine["State"]["Name"])
    if code in {"", "Client.InstanceInitiatedShutdown"}:
        return None, reason
    if code == "Client.UserInitiatedShutdown":
        return JobStatus(JobState.CANCELLED, f"ended from outside: {reason}"), reason
    return JobStatus(JobState.FAILED, f"ended by EC2: {reason}"), reason
