"""What parts of a configuration may tell about themselves."""

from __future__ import annotations


class UsageInformation:
    """To be inherited by a part of a configuration that has more to tell than its class."""

    def get_usage_information(self) -> dict[str, object]:
        """Tell what a usage report should say about this object.

        Returns:
            Names and values that JSON can express. Nothing about people, hosts, paths or data belongs here.
        """
        return {}
