# SPDX-License-Identifier: MPL-2.0
"""A cluster of real processes for the fault tests: brokers and coordinators started directly, each with what can be done to it.

A node may have the shim under its disk (its own data directory is "its machine": power() fails only that), a namespace of the network
(netns.py), or a proxy before its door (proxy.py). Ports lie below those that the kernel gives out and stay the same over restarts.
"""

import os
import pathlib
import random
import signal
import socket
import subprocess
import time

import msgpack
import zmq

import power
import shim

START_S, ASK_S = 20, 2.0
# Who says so did not do it, and it may go well later or elsewhere.
AGAIN = {"NOT_COORDINATOR", "COORDINATOR_LOADING", "COORDINATOR_UNAVAILABLE", "TIMED_OUT", "OVERLOADED", "STOPPING", "FENCED", "LEADER_CHANGED", "STALE_EPOCH", "DISK_FULL",
         "DISK_FAILED"}
CONTEXT = zmq.Context()


class Tools:
    """Where the built programs are."""

    def __init__(self, build):
        build = pathlib.Path(build).resolve()
        self.weft = build / "cli/weft"
        self.shim = build / "tests/fault/libweft_fault_shim.so"
        self.proxy, self.workload, self.history = (build / f"tests/fault/weft_fault_{name}" for name in ("proxy", "workload", "history"))

    def missing(self):
        return [str(path) for path in vars(self).values() if not path.exists()]


def wait_until(condition, what, seconds=START_S, pace=0.02):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(pace)  # allow-sleep: the pace of a wait with a deadline
    raise AssertionError(f"did not happen within {seconds} s: {what}")


def free_ports(count):
    for _ in range(1000):
        ports = random.sample(range(30001, 32700), count)
        sockets = []
        try:
            for port in ports:
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
            return ports
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise AssertionError(f"no {count} free ports")


def ask(endpoint, api, seconds=ASK_S, data=None, /, **fields):
    """One request on a connection of its own; the reply's header, or None when none came."""
    with CONTEXT.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(endpoint)
        dealer.send_multipart([msgpack.packb({"api": api, "id": 1, **fields})] + ([data] if data else []))
        return msgpack.unpackb(dealer.recv_multipart()[0]) if dealer.poll(seconds * 1000) else None


class Node:
    def __init__(self, cluster, name, settings):
        self.cluster, self.name, self.role = cluster, name, name.split("-")[0]
        self.number = int(name.split("-")[1])
        self.settings, self.process, self.disk, self.shim = settings, None, None, None
        self.data, self.trace = cluster.directory / name / "data", cluster.directory / name / "trace"
        self.data.mkdir(parents=True)
        self.stopped = False
        self.asked = False  # it was told to end
        self.spare = False  # a coordinator that is no voter, and down

    def command(self):
        command = [str(self.cluster.tools.weft), self.role, *[word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")]]
        return self.cluster.net.command(self.name, command) if self.cluster.net else command

    @property
    def endpoint(self):
        return self.settings.get("advertise") or self.settings["listen"]

    def use_shim(self):
        self.shim = shim.Shim(self.cluster.tools.shim, self.data, self.data.parent)
        self.disk = power.Disk(self.shim.journal)

    def start(self):
        assert not self.running(), f"{self.name} runs already"
        environment = {**os.environ, **(self.shim.environment() if self.shim else {})}
        with open(self.trace, "ab") as trace:
            trace.write(f"---- started at {time.monotonic_ns()}\n".encode())
            trace.flush()
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=trace, stderr=trace, env=environment, start_new_session=True)
        self.stopped = self.asked = False
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def _gone(self, seconds):
        code = self.process.wait(seconds)
        if self.disk:
            self.disk.read()
        return code

    def kill(self):
        self.asked = True
        if self.running():
            self.process.kill()
        return self._gone(10) if self.process else None

    def term(self, seconds=40):
        self.cont()
        self.asked = True
        if self.running():
            self.process.terminate()
        return self._gone(seconds)

    def ended(self, seconds=10):
        """It ended by itself, within that time: its status."""
        return self._gone(seconds)

    def stop(self):
        if self.running():
            self.process.send_signal(signal.SIGSTOP)
            self.stopped = True

    def cont(self):
        if self.running() and self.stopped:
            self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def power(self, rng, how="random"):
        """The machine loses power; what it had not synced is gone, or a part of it."""
        self.kill()
        return self.disk.fail(self.data, rng, how)

    def ask(self, api, seconds=ASK_S, /, **fields):
        return ask(self.endpoint, api, seconds, **fields)

    def serves(self):
        reply = self.ask("hello", 0.5, client="faults", protocol_min=1, protocol_max=1)
        return reply is not None and not reply.get("error")

    def last_words(self, lines=5):
        return "\n".join(self.trace.read_text(errors="replace").splitlines()[-lines:])


class Cluster:
    """with Cluster(...) as cluster: everything runs and serves; at the end everything is killed."""

    def __init__(self, tools, directory, brokers=3, coordinators=1, with_shim=False, net=None, proxy=None, settings=None, coordinator_settings=None,
                 spares=0):
        self.tools, self.directory, self.net, self.proxy = tools, pathlib.Path(directory).resolve(), net, proxy
        self.directory.mkdir(parents=True, exist_ok=True)
        self.nodes, self.processes = {}, []
        coordinators += spares
        names = [f"coordinator-{n + 1}" for n in range(coordinators)] + [f"broker-{n + 1}" for n in range(brokers)]
        ports = free_ports(2 * len(names))
        listens = {name: f"tcp://{net.host(name) if net else '127.0.0.1'}:{port}" for name, port in zip(names, ports)}
        doors = dict(listens)
        for name in names if proxy else []:
            doors[name] = proxy.link(name, listens[name])
        listed = [f"{name.split('-')[1]}={doors[name]}" for name in names[:coordinators]]
        spare_names = names[coordinators - spares : coordinators]
        for name, second in zip(names, ports[len(names) :]):
            role, number = name.split("-")
            own = {"id": number, "listen": listens[name], "data": self.directory / name / "data"}
            if proxy:
                own["advertise"] = doors[name]
            if role == "coordinator":
                voters = listed if name in spare_names else listed[: coordinators - spares]
                own.update({"coordinators": ",".join(voters)} if len(voters) > 1 else {})
                own.update(coordinator_settings or {})
            else:
                own["coordinators"] = ",".join(doors[each] for each in names[:coordinators])
                own["replica.listen"] = listens[name].rsplit(":", 1)[0] + f":{second}"
                if proxy:
                    own["replica.advertise"] = proxy.link(f"{name}-replica", own["replica.listen"])
                own.update(settings or {})
            self.nodes[name] = Node(self, name, own)
            self.nodes[name].spare = name in spare_names
            if with_shim is True or (with_shim and name in with_shim):
                self.nodes[name].use_shim()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.close()

    def __getitem__(self, name):
        return self.nodes[name]

    @property
    def brokers(self):
        return [node for node in self.nodes.values() if node.role == "broker"]

    @property
    def coordinators(self):
        return [node for node in self.nodes.values() if node.role == "coordinator"]

    @property
    def bootstrap(self):
        return ",".join(node.endpoint for node in self.brokers + self.coordinators)

    def start(self, seconds=START_S):
        for node in self.coordinators + self.brokers:
            if not node.running() and not node.spare:
                node.start()
        self.wait_healthy(seconds)
        return self

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        for node in self.nodes.values():
            node.cont()
            if node.running():
                node.kill()

    # ---- asking

    def status(self):
        """cluster_status of the active coordinator, or None."""
        for node in self.coordinators:
            if node.running() and not node.stopped:
                reply = node.ask("cluster_status", 1.0)
                if reply and not reply.get("error"):
                    return reply
        return None

    def active(self):
        """The coordinator node that leads now, or None."""
        status = self.status()
        return next((node for node in self.coordinators if status and node.endpoint == status["coordinator"]), None)

    def metadata(self, node=None, **fields):
        for each in [node] if node else self.brokers + self.coordinators:
            if each.running() and not each.stopped:
                reply = each.ask("metadata", 1.0, **fields)
                if reply and not reply.get("error"):
                    return reply
        return None

    def admin(self, api, seconds=15, /, operation=None, **fields):
        """A request to the active coordinator, again until one takes it; its reply, which may be an error."""
        operation = operation or os.urandom(16)
        deadline = time.monotonic() + seconds
        reply = None
        while time.monotonic() < deadline:
            for node in self.coordinators:
                if not node.running() or node.stopped:
                    continue
                reply = node.ask(api, operation=operation, **fields) or reply
                if reply and reply.get("name") not in AGAIN:
                    return reply
            time.sleep(0.05)  # allow-sleep: the pace of a wait with a deadline
        raise AssertionError(f"{api}: no coordinator answered within {seconds} s; last: {reply}")

    def weft(self, *words, status=0, seconds=60, input=None):
        command = [str(self.tools.weft), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, input=input, env={**os.environ, "WEFT_BOOTSTRAP": self.bootstrap})
        assert status is None or done.returncode == status, f"{' '.join(command[1:])}: {done.returncode}: {done.stdout} {done.stderr}"
        return done

    def create(self, topic, partitions=6, replicas=None, **config):
        replicas = replicas or min(3, len(self.brokers))
        entries = [{"key": key.replace("_", "."), "value": str(value)} for key, value in config.items()]
        reply = self.admin("topic_create", topic=topic, partitions=partitions, replicas=replicas, config=entries)
        assert not reply.get("error") or reply["name"] == "TOPIC_EXISTS", reply
        self.wait_settled(topic)

    def partitions(self, topic, node=None):
        """The topic's partitions as a node (any) shows them, or []."""
        reply = self.metadata(node, topics=[topic])
        return reply["topics"][0]["partitions"] if reply and reply.get("topics") and not reply["topics"][0].get("error") else []

    def leader(self, topic, partition=0, node=None):
        found = [each for each in self.partitions(topic, node) if each["partition"] == partition]
        return self.nodes.get(f"broker-{found[0]['leader']}") if found else None

    # ---- waiting

    def wait_healthy(self, seconds=START_S):
        """All nodes run, every broker is alive, a coordinator leads."""
        last = {}

        def healthy():
            there = [node for node in self.nodes.values() if not node.spare]
            for node in there:
                assert node.running(), f"{node.name} ended with {node.process.returncode if node.process else None}: {node.last_words()}"
            last["status"] = status = self.status()
            return status and sum(broker["alive"] for broker in status["brokers"]) >= len(self.brokers) and all(n.serves() for n in there)

        try:
            return wait_until(healthy, "every node serves", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; last status: {last.get('status')}") from None

    def wait_settled(self, topic, seconds=30, insync=True):
        """Every partition has a leader, and every replica is in sync, as every broker sees it."""
        last = {}

        def settled():
            for node in self.brokers:
                if not node.running() or node.stopped:
                    continue
                last["is"] = partitions = self.partitions(topic, node)
                if not partitions or any(p["leader"] < 0 or (insync and len(p["isr"]) < len(p["replicas"])) for p in partitions):
                    return False
            return True

        try:
            wait_until(settled, f"{topic} has leaders and its replicas are in sync", seconds, pace=0.05)
        except AssertionError as error:
            bad = [(p["partition"], p["leader"], p["isr"], p["replicas"]) for p in last.get("is") or [] if p["leader"] < 0 or len(p["isr"]) < len(p["replicas"])]
            raise AssertionError(f"{error}; (partition, leader, in sync, replicas): {bad[:6]}") from None
