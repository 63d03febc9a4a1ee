"""The network that machines on EC2 run in: made, found again, deleted."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from typing import Any

__all__ = ["Network", "name_tags"]

logger = logging.getLogger(__name__)

RUN_TAG = "parsl:run"
"""Key of the tag that says which provider object made something."""

_RANGE = ipaddress.ip_network("10.0.0.0/16")
_SUBNET_BITS = 4
_MOST_SUBNETS = 2**_SUBNET_BITS


def name_tags(resource_type: str, name: str, run_id: str) -> list[dict[str, Any]]:
    """Write the tags of a new resource in EC2's form.

    Args:
        resource_type: EC2's name of the kind, such as "vpc".
        name: What the console is to show.
        run_id: The provider's unique word.
    """
    tags = [{"Key": "Name", "Value": name}, {"Key": RUN_TAG, "Value": run_id}]
    return [{"ResourceType": resource_type, "Tags": tags}]


class Network:
    """A private network with a subnet in each zone, a way out to the internet, and no way in.

    What has been made is kept step by step, so that `delete` also cleans up after a `create` that failed.

    Args:
        client: EC2 client of boto3.
        run_id: The provider's unique word, for tags.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self.vpc_id: str | None = None
        self.internet_gateway_id: str | None = None
        self.security_group_id: str | None = None
        self.subnet_ids: list[str] = []

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, as it can be written to JSON."""
        return {
            "vpc_id": self.vpc_id,
            "internet_gateway_id": self.internet_gateway_id,
            "security_group_id": self.security_group_id,
            "subnet_ids": self.subnet_ids,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take the ids from what `state` returned in an earlier run."""
        self.vpc_id = state["vpc_id"]
        self.internet_gateway_id = state["internet_gateway_id"]
        self.security_group_id = state["security_group_id"]
        self.subnet_ids = list(state["subnet_ids"])

    @property
    def complete(self) -> bool:
        """Whether machines can be started in it, as far as is known here."""
        return bool(self.vpc_id and self.internet_gateway_id and self.security_group_id and self.subnet_ids)

    def exists(self) -> bool:
        """Ask whether the VPC is there."""
        found = self.client.describe_vpcs(Filters=[{"Name": "vpc-id", "Values": [self.vpc_id]}])
        return bool(found["Vpcs"])

    def create(self, name: str) -> str:
        """Make the whole network.

        Args:
            name: Name for people.

        Returns:
            The id of the VPC.
        """
        tags = name_tags("vpc", name, self.run_id)
        vpc = self.client.create_vpc(CidrBlock=str(_RANGE), TagSpecifications=tags)["Vpc"]
        self.vpc_id = str(vpc["VpcId"])
        self.client.get_waiter("vpc_available").wait(VpcIds=[self.vpc_id])
        tags = name_tags("internet-gateway", name, self.run_id)
        gateway = self.client.create_internet_gateway(TagSpecifications=tags)["InternetGateway"]
        self.internet_gateway_id = str(gateway["InternetGatewayId"])
        self.client.attach_internet_gateway(InternetGatewayId=self.internet_gateway_id, VpcId=self.vpc_id)
        self.config_route_table(self.vpc_id, self.internet_gateway_id)
        self._create_subnets(name)
        self.security_group_id = self.security_group(self.vpc_id, name)
        return self.vpc_id

    def config_route_table(self, vpc: str, internet_gateway: str) -> str:
        """Send what leaves a VPC through a gateway.

        Args:
            vpc: Id of the VPC, whose main route table is changed; all its subnets use that.
            internet_gateway: Id of the gateway.

        Returns:
            The id of the route table. It goes with the VPC.
        """
        main = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
        table = str(self.client.describe_route_tables(Filters=main)["RouteTables"][0]["RouteTableId"])
        self.client.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=internet_gateway)
        return table

    def security_group(self, vpc: str, name: str) -> str:
        """Make a security group: machines reach one another and the internet, from which they answer pings alone.

        Args:
            vpc: Id of the VPC.
            name: Name of the group.

        Returns:
            The id of the group.
        """
        group = str(
            self.client.create_security_group(
                GroupName=name,
                Description="Machines of a Parsl provider",
                VpcId=vpc,
                TagSpecifications=name_tags("security-group", name, self.run_id),
            )["GroupId"]
        )
        within = [{"CidrIp": str(_RANGE), "Description": "machines of the same network"}]
        anywhere = [{"CidrIp": "0.0.0.0/0", "Description": "ping"}]
        # To begin with, a group lets everything out and nothing in.
        self.client.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[
                {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "IpRanges": within},
                {"IpProtocol": "udp", "FromPort": 0, "ToPort": 65535, "IpRanges": within},
                {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": anywhere},
            ],
        )
        return group

    def _create_subnets(self, name: str) -> None:
        """One in each zone: where one has no machine of the wanted type left, another may."""
        zones = self.client.describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])
        names = sorted(zone["ZoneName"] for zone in zones["AvailabilityZones"])[:_MOST_SUBNETS]
        ranges = _RANGE.subnets(prefixlen_diff=_SUBNET_BITS)
        for zone, addresses in zip(names, ranges, strict=False):
            subnet = self.client.create_subnet(
                VpcId=self.vpc_id,
                CidrBlock=str(addresses),
                AvailabilityZone=zone,
                TagSpecifications=name_tags("subnet", name, self.run_id),
            )["Subnet"]["SubnetId"]
            self.subnet_ids.append(str(subnet))
            self.client.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})

    def delete(self, errors: tuple[type[Exception], ...]) -> list[str]:
        """Delete what there is, as much of it as EC2 allows; machines must be gone.

        Args:
            errors: Exceptions that say that EC2 refused.

        Returns:
            Why something is still there, a line each.
        """
        left: list[str] = []

        def attempt(delete: Callable[[], object]) -> bool:
            try:
                delete()
            except errors as error:
                if "NotFound" not in str(error):
                    left.append(str(error))
                    return False
            return True

        client, vpc = self.client, self.vpc_id
        group, gateway = self.security_group_id, self.internet_gateway_id
        if group and attempt(lambda: client.delete_security_group(GroupId=group)):
            self.security_group_id = None
        for subnet in list(self.subnet_ids):
            if attempt(lambda subnet=subnet: client.delete_subnet(SubnetId=subnet)):  # type: ignore[misc]  # bound now
                self.subnet_ids.remove(subnet)
        if gateway:
            attempt(lambda: client.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc))
            if attempt(lambda: client.delete_internet_gateway(InternetGatewayId=gateway)):
                self.internet_gateway_id = None
        if vpc and attempt(lambda: client.delete_vpc(VpcId=vpc)):
            self.vpc_id = None
        return left
