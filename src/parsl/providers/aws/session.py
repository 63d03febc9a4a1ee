"""How EC2 is reached, and the file that remembers a run."""

from __future__ import annotations

import json
import os
from typing import Any

from parsl.errors import ConfigurationError
from parsl.providers.cloud import load_sdk

__all__ = ["load_state", "make_client", "make_session", "save_state"]


def make_session(region: str, profile: str | None, key_file: str | None) -> Any:
    """Make boto3's session with the credentials of a file, of a profile, or those that boto3 finds.

    Args:
        region: Name of the region.
        profile: Profile of boto3's configuration files.
        key_file: JSON file with `AWSAccessKeyId` and `AWSSecretKey`.

    Raises:
        ConfigurationError: The file can't be read, or the profile does not exist.
    """
    boto3 = load_sdk("aws", "boto3")
    given: dict[str, str] = {}
    if key_file is not None:
        try:
            with open(os.path.expanduser(key_file), encoding="utf-8") as file:
                keys = json.load(file)
            given = {"aws_access_key_id": keys["AWSAccessKeyId"], "aws_secret_access_key": keys["AWSSecretKey"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"AWSProvider: no AWSAccessKeyId and AWSSecretKey in key_file {key_file}: {error!r}"
            raise ConfigurationError(message) from error
    try:
        return boto3.session.Session(region_name=region, profile_name=profile, **given)
    except load_sdk("aws", "botocore.exceptions").ProfileNotFound as error:
        raise ConfigurationError(f"AWSProvider: {error}") from error


def make_client(session: Any) -> Any:
    """Make a client for EC2 that has limits on how long it waits, and tries again by itself."""
    config = load_sdk("aws", "botocore.config").Config(
        connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3}
    )
    return session.client("ec2", config=config)


def load_state(path: str, region: str) -> dict[str, Any]:
    """Read a state file.

    Args:
        path: The file.
        region: Where it has to be from.

    Raises:
        ConfigurationError: It can't be read, is none of ours, or is from another region.
    """
    try:
        with open(path, encoding="utf-8") as file:
            state: dict[str, Any] = json.load(file)
        missing = {"region", "instances", "network"} - set(state)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"AWSProvider: state_file {path} can't be read: {error}") from error
    if missing:
        raise ConfigurationError(f"AWSProvider: state_file {path} has no {', '.join(sorted(missing))}")
    if state["region"] != region:
        raise ConfigurationError(f"AWSProvider: state_file {path} is from region {state['region']}, not {region}")
    return state


def save_state(path: str, state: dict[str, Any]) -> None:
    """Write a state file in one piece."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    partial = f"{path}.{os.getpid()}"
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(state, file, indent=2)
    os.replace(partial, path)
