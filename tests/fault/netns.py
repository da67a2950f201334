# SPDX-License-Identifier: MPL-2.0
"""A network of namespaces, made and taken away by the test: each node in one of its own, joined by a bridge in another.

A one-way cut is a blackhole route in the sender's namespace: nothing is told to anybody, connections that stand are hit as well. The test's
own process has a leg in the network, so that it can ask nodes. All names carry the process id; close() deletes the namespaces, and with
them everything in them. What a killed test left is removed by the next one.
"""

import atexit
import os
import re
import subprocess

PREFIX = "weftfault"


def ip(*words, check=True):
    return subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, check=check)


def why_not():
    """None, or why namespaces can't be made here (then a row says that it was skipped)."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"{PREFIX}-{os.getpid()}-probe"
    try:
        made = ip("netns", "add", name, check=False)
        if made.returncode != 0:
            return f"no network namespace can be made here: {made.stderr.strip()}"
        bridge = ip("-n", name, "link", "add", "probe", "type", "bridge", check=False)
        veth = ip("-n", name, "link", "add", "va", "type", "veth", "peer", "name", "vb", check=False)
        ip("netns", "delete", name, check=False)
    except FileNotFoundError:
        return "there is no ip command (package iproute2)"
    if bridge.returncode != 0 or veth.returncode != 0:
        return f"no bridge or veth can be made here: {(bridge.stderr + veth.stderr).strip()}"
    return None


def sweep():
    """Removes what tests left that are not running any more."""
    for line in ip("netns", "list", check=False).stdout.splitlines():
        match = re.match(rf"({PREFIX}-(\d+)-\w+)", line)
        if match and not os.path.exists(f"/proc/{match.group(2)}"):
            ip("netns", "delete", match.group(1), check=False)


class Net:
    def __init__(self):
        sweep()
        self.pid, self.hosts, self.cuts = os.getpid(), {}, set()
        self.subnet = f"10.{200 + self.pid // 250 % 50}.{self.pid % 250}"
        self.hub, self.leg = self.name("hub"), f"wf{self.pid}"
        atexit.register(self.close)
        try:
            ip("netns", "add", self.hub)
            ip("-n", self.hub, "link", "add", "br0", "type", "bridge")
            ip("-n", self.hub, "link", "set", "br0", "up")
            ip("-n", self.hub, "link", "add", "leg", "type", "veth", "peer", "name", self.leg, "netns", self.pid)
            ip("-n", self.hub, "link", "set", "leg", "master", "br0", "up")
            ip("addr", "add", f"{self.subnet}.254/24", "dev", self.leg)
            ip("link", "set", self.leg, "up")
        except subprocess.CalledProcessError as error:
            self.close()
            raise RuntimeError(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from None

    def name(self, host):
        return f"{PREFIX}-{self.pid}-{host.replace('-', '')}"

    def host(self, host):
        """Makes it; its address."""
        number = len(self.hosts) + 1
        space, address = self.name(host), f"{self.subnet}.{number}"
        ip("netns", "add", space)
        self.hosts[host] = address
        ip("-n", self.hub, "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("-n", self.hub, "link", "set", f"v{number}", "master", "br0", "up")
        ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", space, "link", "set", "eth0", "up")
        ip("-n", space, "link", "set", "lo", "up")
        return address

    def command(self, host, command):
        return ["ip", "netns", "exec", self.name(host), *command]

    def cut(self, sender, receiver):
        """Nothing from sender reaches receiver any more; the other way stays open."""
        ip("-n", self.name(sender), "route", "replace", "blackhole", f"{self.hosts[receiver]}/32")
        self.cuts.add((sender, receiver))

    def cut_both(self, a, b):
        self.cut(a, b)
        self.cut(b, a)

    def isolate(self, host, ways="both"):
        """From all others; "in": it hears nobody, "out": nobody hears it."""
        for other in self.hosts:
            if other != host and ways in ("both", "out"):
                self.cut(host, other)
            if other != host and ways in ("both", "in"):
                self.cut(other, host)

    def heal(self):
        for sender, receiver in self.cuts:
            ip("-n", self.name(sender), "route", "del", "blackhole", f"{self.hosts[receiver]}/32", check=False)
        self.cuts.clear()

    def rate(self, host, kbit):
        """What the host sends goes at this rate; 0: no limit."""
        space = self.name(host)
        if kbit:
            return subprocess.run(["tc", "-n", space, "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", f"{kbit}kbit", "burst", "16kb", "latency", "400ms"],
                                  capture_output=True, text=True, check=True)
        return subprocess.run(["tc", "-n", space, "qdisc", "del", "dev", "eth0", "root"], capture_output=True, text=True, check=False)

    def close(self):
        ip("link", "delete", self.leg, check=False)  # a namespace goes in its own time
        for name in [self.name(host) for host in self.hosts] + [self.hub]:
            ip("netns", "delete", name, check=False)
        self.hosts = {}
        atexit.unregister(self.close)
