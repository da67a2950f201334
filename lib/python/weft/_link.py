# SPDX-License-Identifier: MPL-2.0
"""One connection: a DEALER to one endpoint, and the monitor that tells when it comes up and goes down.

A send is refused without a connection (ZMQ_IMMEDIATE), else it would wait and surprise the server's next life; sending again is
the client's decision. A server that was stopped or cut off is noticed by ZMTP heartbeats, even when nothing is sent."""
from typing import Any, List, Optional, Tuple

import zmq
from zmq.utils.monitor import parse_monitor_message

FRAME_BYTES_MAX = 33554432 + 1024

_OPTIONS = (
    (zmq.IMMEDIATE, 1),
    (zmq.SNDHWM, 0),  # what is under way is bounded by those who send
    (zmq.RCVHWM, 0),
    (zmq.LINGER, 0),
    (zmq.MAXMSGSIZE, FRAME_BYTES_MAX),
    (zmq.HEARTBEAT_IVL, 1000),
    (zmq.HEARTBEAT_TIMEOUT, 3000),
    (zmq.HEARTBEAT_TTL, 6000),
    (zmq.RECONNECT_IVL, 20),
    (zmq.RECONNECT_IVL_MAX, 1000),
    (zmq.CONNECT_TIMEOUT, 3000),
    (zmq.IPV6, 1),
)


class Link:
    __slots__ = ("endpoint", "socket", "monitor", "up", "broken", "silent", "changed", "pinned")

    def __init__(self, context: "zmq.Context[Any]", endpoint: str, now: float, pinned: bool, linger_ms: int, unanswered: bool) -> None:
        self.endpoint, self.changed, self.pinned = endpoint, now, pinned
        self.up = self.broken = self.silent = False
        self.socket = context.socket(zmq.DEALER)
        for option, value in _OPTIONS:
            self.socket.setsockopt(option, value)
        self.socket.setsockopt(zmq.LINGER, linger_ms)
        if unanswered:  # acks=0: the transport's queue is all there is to push back on the program
            self.socket.setsockopt(zmq.SNDHWM, 64)
        self.monitor: Any = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self.monitor.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def send(self, header: bytes, data: Optional[bytes]) -> bool:
        """False: not connected, or the transport takes no more."""
        try:
            if data is None:
                self.socket.send(header, zmq.NOBLOCK)
            else:
                self.socket.send(header, zmq.NOBLOCK | zmq.SNDMORE)
                self.socket.send(data, zmq.NOBLOCK)
            return True
        except zmq.Again:
            return False

    def receive(self) -> Optional[List[bytes]]:
        try:
            return self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def event(self) -> Optional[bool]:
        """True: it came up. False: it went down. None: nothing more to tell."""
        try:
            told = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return None
        return bool(told["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED)

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()


def endpoints_of(servers: Any) -> Tuple[str, ...]:
    """bootstrap_servers as kafka-python takes them: 'host:port', a list, comma separated; or ZeroMQ endpoints."""
    if not isinstance(servers, (str, list, tuple, set, frozenset)) or not all(isinstance(row, str) for row in servers):
        raise TypeError("bootstrap_servers is %r; a str or a list of them is wanted, as 'tcp://127.0.0.1:9650'" % (servers,))
    rows = servers.split(",") if isinstance(servers, str) else [part for row in servers for part in row.split(",")]
    found = []
    for row in (row.strip() for row in rows):
        if not row:
            continue
        if "://" not in row:
            row = "tcp://%s" % row if ":" in row else "tcp://%s:9650" % row
        if row.split("://")[0] not in ("tcp", "ipc", "inproc"):
            raise ValueError("bootstrap_servers: %r is no endpoint; host:port, tcp://host:port or ipc://path is wanted" % row)
        if row.startswith("tcp://"):
            host, _, port = row[6:].rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError("bootstrap_servers: %r has no port; host:port or tcp://host:port is wanted" % row)
        found.append(row)
    if not found:
        raise ValueError("bootstrap_servers is empty; it names at least one node, as tcp://127.0.0.1:9650")
    return tuple(dict.fromkeys(found))


def host_name_of(endpoint: str) -> str:
    """Of tcp://host:port, where the host is a name that has to be looked up; else empty."""
    host = endpoint[6:].rpartition(":")[0] if endpoint.startswith("tcp://") else ""
    return "" if host == "localhost" or host.startswith("[") or not host.strip("0123456789.") else host
