# SPDX-License-Identifier: MPL-2.0
"""What a client knows about the cluster: topics, who leads what, the coordinator, the brokers.

Knowledge only grows: an answer of a node that lags takes back neither a leader epoch, nor a topic, nor who is the coordinator."""
from typing import Any, Dict, List, Optional

from . import _errors

ZERO_ID = bytes(16)
SPARES_MAX = 64
MISSING_GRACE = 1.5  # seconds: a topic just created may not be known to every node yet


class Place:
    """One partition: who leads it."""

    __slots__ = ("leader", "epoch", "endpoint", "replicas", "isr", "offline", "error")

    def __init__(self) -> None:
        self.leader, self.epoch, self.endpoint, self.error = -1, -1, "", 0
        self.replicas: List[int] = []
        self.isr: List[int] = []
        self.offline: List[int] = []


class Topic:
    __slots__ = ("name", "id", "known", "wanted", "internal", "generation", "missing_since", "places")

    def __init__(self, name: str) -> None:
        self.name, self.id = name, ZERO_ID
        self.known = self.wanted = self.internal = False
        self.generation = 0  # grows when the name stands for another topic
        self.missing_since: Optional[float] = None
        self.places: List[Place] = []

    def place(self, number: int) -> Optional[Place]:
        return self.places[number] if 0 <= number < len(self.places) else None


class View:
    def __init__(self) -> None:
        self.topics: Dict[str, Topic] = {}
        self.brokers: Dict[int, Dict[str, Any]] = {}
        self.coordinator = ""  # endpoint, as far as is known
        self.coordinator_id = -1
        self.coordinators: List[str] = []
        self.cluster_id = ZERO_ID
        self.version = 0
        self.updates = 0
        self.fatal: Optional[_errors.WeftError] = None

    def topic(self, name: str) -> Topic:
        found = self.topics.get(name)
        if found is None:
            found = self.topics[name] = Topic(name)
        return found

    def is_missing(self, topic: Topic, now: float) -> bool:
        """The nodes have said for longer than the grace that there is no such topic."""
        return topic.missing_since is not None and now - topic.missing_since > MISSING_GRACE

    def endpoints(self) -> List[str]:
        return self.coordinators + [endpoint for broker in self.brokers.values() if broker["alive"] for endpoint in broker["endpoints"]]

    def spares(self) -> List[str]:
        """Whom to be connected to, so that there is somebody to ask when the others are gone."""
        firsts = [broker["endpoints"][0] for broker in self.brokers.values() if broker["alive"] and broker["endpoints"]]
        return (self.coordinators + firsts)[:SPARES_MAX]

    def apply(self, reply: Dict[str, Any], everything: bool, now: float) -> None:
        """Takes over a metadata reply; `everything`: it tells of all topics."""
        cluster_id = reply["cluster_id"]
        if cluster_id and cluster_id != ZERO_ID:
            if self.cluster_id == ZERO_ID:
                self.cluster_id = cluster_id
            elif self.cluster_id != cluster_id:
                self.fatal = _errors.WrongClusterError("the bootstrap endpoints belong to more than one cluster")
                return
        old = reply["version"] < self.version
        self.version = max(self.version, reply["version"])
        self.updates += 1
        if not old:
            self.brokers = {broker["id"]: broker for broker in reply["brokers"]}
            if reply["coordinators"]:
                self.coordinators = reply["coordinators"]
                self.coordinator, self.coordinator_id = self.coordinators[0], reply["coordinator_id"]
        told = set()
        for row in reply["topics"]:
            told.add(row["name"])
            topic = self.topic(row["name"])
            if row["error"]:
                self._miss(topic, now, old)
            else:
                self._take(topic, row, old)
        if everything and not old:
            for name, topic in self.topics.items():
                if name not in told:
                    self._miss(topic, now, old)

    @staticmethod
    def _miss(topic: Topic, now: float, old: bool) -> None:
        if old and topic.known:
            return
        topic.known = False
        if topic.missing_since is None:
            topic.missing_since = now

    @staticmethod
    def _take(topic: Topic, row: Dict[str, Any], old: bool) -> None:
        if topic.id != row["id"]:
            if old and topic.known:
                return
            if topic.id != ZERO_ID:
                topic.generation += 1
            topic.id, topic.places = row["id"], []
        topic.known, topic.internal, topic.missing_since = True, row["internal"], None
        for part in row["partitions"]:
            number = part["partition"]
            while len(topic.places) <= number:
                topic.places.append(Place())
            place = topic.places[number]
            if part["epoch"] < place.epoch or (old and part["epoch"] == place.epoch):
                continue
            place.leader, place.epoch, place.endpoint = part["leader"], part["epoch"], part["endpoint"] or ""
            place.replicas, place.isr, place.offline, place.error = part["replicas"], part["isr"], part["offline"], part["error"]

    def redirect(self, topic: Topic, number: int, leader: int, endpoint: str) -> None:
        """NOT_LEADER said who leads (endpoint empty: it does not know)."""
        place = topic.place(number)
        if place is not None:
            place.leader, place.endpoint = leader, endpoint
