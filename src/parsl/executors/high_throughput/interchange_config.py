"""What the client tells its interchange at the start."""

from __future__ import annotations

import msgspec


class InterchangeConfig(msgspec.Struct):
    """What the client tells its interchange at the start.

    Attributes:
        client_path: path of the file-system socket where the client listens.
        manager_path: path of the file-system socket for managers of this node.
        address: address to listen on for managers of other nodes; None for all of this host's.
        port: TCP port to listen on, or None for a free one of `port_range`.
        port_range: first port, and the one after the last.
        ipv6: listen on IPv6 too.
        cert_dir: folder of the CurveZMQ certificates, or None for plain connections.
        segments: folder of the segment store.
        sys_path: the client's `sys.path`.
        heartbeat_threshold: seconds of silence after which a manager is lost.
        logdir: folder for the log, and `log_config` what writes it.
        monitoring: seconds between two samples of what calls use, 0 for only those at the end; None for none.
    """

    client_path: str
    manager_path: str
    address: str | None
    port: int | None
    port_range: tuple[int, int]
    ipv6: bool
    cert_dir: str | None
    segments: str
    sys_path: list[str]
    heartbeat_threshold: float
    logdir: str
    monitoring: float | None = None
