# SPDX-License-Identifier: MPL-2.0
"""Network namespaces for scripts/cluster --netns: each node in one of its own, joined by a bridge in another, this machine with a leg in it.

A cut is a blackhole route in the sender's namespace: what is sent is lost and nobody is told, also on connections that stand. State is the
description alone (a dict that goes into cluster.json); names carry its random tag, so several clusters don't meet.
"""

import os
import secrets
import subprocess

CLIENTS = "clients"  # this machine's own leg, as a peer of cuts


class Refused(Exception):
    """A sentence for the person."""


def ip(*words, check=True):
    try:
        return subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, check=check)
    except subprocess.CalledProcessError as error:
        raise Refused(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from None
    except FileNotFoundError:
        raise Refused("there is no ip command; install the package iproute2") from None


def make(hosts):
    """Makes the network; its description: {tag, hub, leg, hosts: {name: [namespace, address]}}."""
    if os.geteuid() != 0:
        raise Refused("--netns needs root: it makes network namespaces. Without it nodes can be killed and stopped, not cut")
    tag = secrets.token_hex(3)
    number = int(tag, 16)
    subnet = f"10.{140 + number % 60}.{number // 60 % 256}"
    net = {"tag": tag, "hub": f"weft-{tag}-hub", "leg": f"weft{tag}", "client": f"{subnet}.254", "hosts": {}}
    try:
        ip("netns", "add", net["hub"])
        ip("-n", net["hub"], "link", "add", "br0", "type", "bridge")
        ip("-n", net["hub"], "link", "set", "br0", "up")
        ip("-n", net["hub"], "link", "add", "leg", "type", "veth", "peer", "name", net["leg"], "netns", os.getpid())
        ip("-n", net["hub"], "link", "set", "leg", "master", "br0", "up")
        ip("addr", "add", f"{net['client']}/24", "dev", net["leg"])
        ip("link", "set", net["leg"], "up")
        for place, host in enumerate(hosts, 1):
            space, address = f"weft-{tag}-{host}", f"{subnet}.{place}"
            ip("netns", "add", space)
            net["hosts"][host] = [space, address]
            ip("-n", net["hub"], "link", "add", f"v{place}", "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("-n", net["hub"], "link", "set", f"v{place}", "master", "br0", "up")
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
    except Refused:
        remove(net)
        raise
    return net


def remove(net):
    ip("link", "delete", net["leg"], check=False)  # a namespace goes in its own time, the leg at once
    for space in [space for space, _ in net["hosts"].values()] + [net["hub"]]:
        ip("netns", "delete", space, check=False)


def address(net, host):
    return net["client"] if host == CLIENTS else net["hosts"][host][1]


def inside(net, host):
    """Words before a command that run it in the host's namespace."""
    return [] if host == CLIENTS else ["ip", "netns", "exec", net["hosts"][host][0]]


def route(net, verb, sender, receiver, check=True):
    where = [] if sender == CLIENTS else ["-n", net["hosts"][sender][0]]
    ip(*where, "route", verb, "blackhole", f"{address(net, receiver)}/32", check=check)


def cut(net, sender, receiver):
    """Nothing from sender reaches receiver any more; the other way stays as it is."""
    route(net, "replace", sender, receiver)


def heal(net, sender, receiver):
    route(net, "del", sender, receiver, check=False)
