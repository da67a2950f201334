# SPDX-License-Identifier: MPL-2.0
"""Admin client: topics, groups, settings. Shaped like kafka-python's KafkaAdminClient.

Calls block until they are done, at most for timeout_ms; what was changed is known to the node that answers next. An error is an
exception with the server's sentence. A change that was asked for twice because an answer was lost is made once."""
import time
import weakref
from types import TracebackType
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

from . import _errors, _flows
from ._admin_structs import KAFKA_CONFIGS, ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from ._engine import ANY, COORDINATOR, Engine, Flow
from ._settings import check_numbers, check_partition, check_strs, connect_seconds, refuse_others, seconds_of, servers_of
from .errors import NoError, of_number
from .structs import GroupInformation, MemberAssignment, MemberInformation, MemberMetadata, OffsetAndMetadata, TopicPartition

__all__ = ["AdminClient", "KafkaAdminClient", "NewTopic", "NewPartitions", "ConfigResource", "ConfigResourceType", "NoError"]

PROTOCOL_TYPE = "consumer"
STATES = {"empty": "Empty", "assigning": "PreparingRebalance", "reconciling": "CompletingRebalance", "stable": "Stable"}


class TopicResult(NamedTuple):
    topic: str
    error_code: int
    error_message: Optional[str]


class CreateTopicsResponse(NamedTuple):
    topic_errors: List[TopicResult]


class DeleteTopicsResponse(NamedTuple):
    topic_error_codes: List[Tuple[str, int]]


class CreatePartitionsResponse(NamedTuple):
    topic_errors: List[TopicResult]


class AdminClient:
    """bootstrap_servers: endpoints of any nodes ("tcp://127.0.0.1:9650", "host:port", a list). A context manager."""

    def __init__(self, bootstrap_servers: Union[str, Sequence[str], None] = None, *, client_id: str = "weft-python",
                 request_timeout_ms: int = 30000, retry_backoff_ms: int = 50, connect_timeout_ms: Optional[float] = None,
                 context: Any = None, **others: Any) -> None:
        refuse_others(AdminClient, others)
        check_numbers(1, request_timeout_ms=request_timeout_ms, retry_backoff_ms=retry_backoff_ms)
        check_strs(client_id=client_id)
        self._timeout = request_timeout_ms / 1000
        patience = connect_seconds(connect_timeout_ms, request_timeout_ms)
        self._engine = Engine(servers_of(bootstrap_servers), client_id, self._timeout / 3,
                              retry_backoff_ms / 1000, context=context)
        weakref.finalize(self, self._engine.abandon).atexit = False
        self._engine.start()
        if patience:
            try:
                self._engine.wait_up(patience)
            except BaseException:
                self._engine.close()
                raise

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> "AdminClient":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def _deadline(self, timeout_ms: Optional[int]) -> float:
        return time.monotonic() + seconds_of(timeout_ms, self._timeout)

    # ---- topics

    def create_topics(self, new_topics: Iterable[NewTopic], timeout_ms: Optional[int] = None,
                      validate_only: bool = False) -> CreateTopicsResponse:
        """Each on its own: one that fails keeps no other one back. Then raises what the first failure was (TopicExistsError ...); its
        `results` tell what became of each."""
        def one(new: NewTopic, deadline: float) -> Flow:
            values = {"topic": new.name, "partitions": 1 if new.num_partitions == -1 else new.num_partitions,
                      "replicas": max(0, new.replication_factor), "config": _topic_config(new.topic_configs),
                      "validate_only": validate_only}
            reply = yield from _flows.change(self._engine, "topic_create", values, deadline)
            if not validate_only:
                yield from _flows.wait_version(self._engine, reply["version"], deadline, new.name)

        topics = _all_of(new_topics, NewTopic, "create_topics() takes a list of NewTopic, as [NewTopic('orders', 2, 1)]")
        deadline = self._deadline(timeout_ms)
        return CreateTopicsResponse(self._run(_each([(new.name, one(new, deadline)) for new in topics])))

    def delete_topics(self, topics: Iterable[str], timeout_ms: Optional[int] = None) -> DeleteTopicsResponse:
        """Each on its own, as create_topics()."""
        def one(name: str, deadline: float) -> Flow:
            reply = yield from _flows.change(self._engine, "topic_delete", {"topic": name}, deadline)
            yield from _flows.wait_version(self._engine, reply["version"], deadline)

        names = _all_of([topics] if isinstance(topics, str) else topics, str, "delete_topics() takes a list of names")
        deadline = self._deadline(timeout_ms)
        rows = self._run(_each([(name, one(name, deadline)) for name in names]))
        return DeleteTopicsResponse([(row.topic, row.error_code) for row in rows])

    def create_partitions(self, topic_partitions: Mapping[str, NewPartitions], timeout_ms: Optional[int] = None,
                          validate_only: bool = False) -> CreatePartitionsResponse:
        """{"orders": NewPartitions(total_count=12)}. Records stay where they are; keys may map elsewhere from now on. Each topic on its
        own, as create_topics()."""
        def one(name: str, new: NewPartitions, deadline: float) -> Flow:
            reply = yield from _flows.change(self._engine, "topic_add_partitions", {"topic": name, "to": new.total_count}, deadline)
            yield from _flows.wait_version(self._engine, reply["version"], deadline, name)

        if validate_only:
            raise ValueError("create_partitions: validate_only is not supported")
        wanted = "create_partitions() takes a dict of NewPartitions, as {'orders': NewPartitions(total_count=12)}"
        if not isinstance(topic_partitions, Mapping):
            raise TypeError("%s; not a %s" % (wanted, type(topic_partitions).__name__))
        _all_of(topic_partitions.values(), NewPartitions, wanted)
        deadline = self._deadline(timeout_ms)
        return CreatePartitionsResponse(self._run(_each([(name, one(name, new, deadline)) for name, new in topic_partitions.items()])))

    def list_topics(self) -> List[str]:
        """Names of all topics but the internal ones."""
        reply = self._run(_flows.metadata(self._engine, [], self._deadline(None)))
        return sorted(row["name"] for row in reply["topics"] if not row["error"])

    def describe_topics(self, topics: Optional[Iterable[str]] = None) -> List[Dict[str, Any]]:
        """A dictionary each: error_code, topic, is_internal, partitions [{error_code, partition, leader, replicas, isr,
        offline_replicas}]. A topic that does not exist has error_code 3 (UNKNOWN_TOPIC) and no partitions."""
        names = _names(topics) if topics is not None else []
        if topics is not None and not names:
            return []
        reply = self._run(_flows.metadata(self._engine, names, self._deadline(None), internal=bool(names)))
        return [_described(row) for row in reply["topics"]]

    def delete_records(self, records_to_delete: Mapping[TopicPartition, int],
                       timeout_ms: Optional[int] = None) -> Dict[TopicPartition, Dict[str, int]]:
        """All below these offsets (-1: all that is committed). {partition: {"low_watermark": the first one kept, "error_code": 0}}."""
        def flow() -> Flow:
            deadline, found = self._deadline(timeout_ms), {}
            for (topic, number), offset in wanted.items():
                reply = yield from _flows.ask(self._engine, "delete_records", {"topic": topic, "partition": number,
                                                                              "before_offset": offset}, (topic, number), deadline)
                found[TopicPartition(topic, number)] = {"low_watermark": reply["log_start"], "error_code": 0}
            return found

        wanted = {check_partition(at): offset for at, offset in records_to_delete.items()}
        return self._run(flow())

    # ---- the cluster

    def describe_cluster(self) -> Dict[str, Any]:
        reply = self._run(_flows.metadata(self._engine, [], self._deadline(None), brokers_only=True))
        return {"throttle_time_ms": 0, "cluster_id": reply["cluster_id"].hex(), "controller_id": reply["coordinator_id"],
                "coordinators": reply["coordinators"],
                "brokers": [_broker(broker) for broker in reply["brokers"]]}

    def describe_configs(self, config_resources: Iterable[ConfigResource]) -> List[Dict[str, Any]]:
        """Settings of topics: {"resource_type", "name", "error_code", "configs": {key: {"value", "is_default"}}} each."""
        def flow() -> Flow:
            deadline, rows = self._deadline(None), []
            for resource in resources:
                reply = yield from _flows.ask(self._engine, "topic_describe", {"topic": resource.name}, ANY, deadline)
                rows.append({"resource_type": resource.resource_type, "name": resource.name, "error_code": 0, "configs": {
                    row["key"]: {"value": row["value"], "is_default": row["is_default"]} for row in reply["config"]
                    if not resource.configs or row["key"] in resource.configs}})
            return rows

        resources = _all_of(config_resources, ConfigResource, "describe_configs() takes a list of ConfigResource")
        if any(resource.resource_type != ConfigResourceType.TOPIC for resource in resources):
            raise ValueError("describe_configs: settings of topics can be asked for")
        return self._run(flow())

    def alter_configs(self, config_resources: Iterable[ConfigResource]) -> None:
        """Sets what is named, leaves the rest; a value None goes back to the default. Each resource on its own, as create_topics()."""
        def one(resource: ConfigResource, deadline: float) -> Flow:
            configs = resource.configs or {}
            given = {key: value for key, value in configs.items() if value is not None}
            unset = [key for key, value in configs.items() if value is None]
            if resource.resource_type == ConfigResourceType.TOPIC:
                values = {"topic": resource.name, "set": _topic_config(given), "unset": unset}
                reply = yield from _flows.change(self._engine, "topic_alter", values, deadline)
            else:
                values = {"config": _config({**given, **{key: "" for key in unset}})}
                reply = yield from _flows.change(self._engine, "cluster_alter", values, deadline)
            yield from _flows.wait_version(self._engine, reply["version"], deadline)

        resources = _all_of(config_resources, ConfigResource, "alter_configs() takes a list of ConfigResource")
        deadline = self._deadline(None)
        self._run(_each([(resource.name, one(resource, deadline)) for resource in resources]))

    # ---- groups

    def list_consumer_groups(self, broker_ids: Optional[Sequence[int]] = None) -> List[Tuple[str, str]]:
        """(group, protocol type): those that have, or had, members, and those that only committed offsets."""
        def flow() -> Flow:
            deadline = self._deadline(None)
            reply = yield from _flows.ask(self._engine, "group_list", {}, COORDINATOR, deadline)
            names = {row["group"] for row in reply["groups"]}
            count = yield from _flows.offsets_count(self._engine, deadline, False)
            for number in range(count):
                reply = yield from _flows.ask(self._engine, "offsets_list", {"partition": number}, (_flows.OFFSETS, number), deadline)
                names.update(row["group"] for row in reply["groups"])
            return [(name, PROTOCOL_TYPE) for name in sorted(names)]

        return self._run(flow())

    def describe_consumer_groups(self, group_ids: Iterable[str], group_coordinator_id: Optional[int] = None,
                                 include_authorized_operations: bool = False) -> List[GroupInformation]:
        """What is known of each; one that does not exist has state "Dead"."""
        def flow() -> Flow:
            deadline, found = self._deadline(None), []
            for name in names:
                try:
                    reply = yield from _flows.ask(self._engine, "group_describe", {"group": name}, COORDINATOR, deadline)
                except _errors.UnknownGroupError:
                    rows = yield from _flows.committed(self._engine, name, [], deadline)
                    state = "Empty" if any(row["offset"] >= 0 for row in rows) else "Dead"
                    found.append(GroupInformation(0, name, state, PROTOCOL_TYPE if state == "Empty" else "", "", []))
                    continue
                found.append(GroupInformation(0, name, STATES.get(reply["state"], reply["state"]), PROTOCOL_TYPE,
                                              reply["assignor"] or "", [_member(row) for row in reply["members"]]))
            return found

        names = _names(group_ids)
        return self._run(flow())

    def delete_consumer_groups(self, group_ids: Iterable[str],
                               group_coordinator_id: Optional[int] = None) -> List[Tuple[str, Type[_errors.WeftError]]]:
        """(group, error class) each, as kafka-python; the class is NoError where it was deleted with its offsets."""
        def one(name: str, deadline: float) -> Flow:
            reply = yield from _flows.change(self._engine, "group_delete", {"group": name}, deadline)
            place = yield from _flows.offsets_place(self._engine, name, deadline, False)
            deleted = 0
            if place is not None:
                rows = yield from _flows.ask(self._engine, "offsets_delete", {"group": name, "token": reply["token"]}, place, deadline)
                deleted = rows["deleted"]
            if not reply["existed"] and not deleted:
                raise _errors.UnknownGroupError("there is no group '%s': it has neither members nor committed offsets" % name)

        def flow() -> Flow:
            deadline = self._deadline(None)
            results: List[Tuple[str, Type[_errors.WeftError]]] = []
            for name in names:
                try:
                    yield from one(name, deadline)
                    results.append((name, NoError))
                except (_errors.UnknownGroupError, _errors.GroupNotEmptyError) as error:
                    results.append((name, type(error)))
            return results

        names = _names(group_ids)
        return self._run(flow())

    def list_consumer_group_offsets(self, group_id: str, group_coordinator_id: Optional[int] = None,
                                    partitions: Optional[Iterable[TopicPartition]] = None) -> Dict[TopicPartition, OffsetAndMetadata]:
        """What the group has committed: of these partitions (offset -1: nothing), or all there is."""
        wanted = None if partitions is None else [check_partition(at) for at in partitions]
        entries = [{"topic": topic, "partition": number} for topic, number in wanted or ()]
        rows = self._run(_flows.committed(self._engine, group_id, entries, self._deadline(None)))
        found = {TopicPartition(row["topic"], row["partition"]): OffsetAndMetadata(row["offset"], row["metadata"] or "", row["epoch"])
                 for row in rows if row["topic"] and not row["error"] and row["offset"] >= 0}
        if wanted is None:
            return found
        return {TopicPartition(*at): found.get(TopicPartition(*at), OffsetAndMetadata(-1, "")) for at in wanted}

    def alter_consumer_group_offsets(self, group_id: str, offsets: Mapping[TopicPartition, Union[int, OffsetAndMetadata]]) -> None:
        """Sets where the group goes on. GroupNotEmptyError while somebody is in it: stop its members first."""
        def flow() -> Flow:
            deadline = self._deadline(None)
            reply = yield from _flows.change(self._engine, "group_token", {"group": group_id}, deadline)
            entries = [_entry(at, value, reply["token"]) for at, value in offsets.items()]
            place = yield from _flows.offsets_place(self._engine, group_id, deadline, True)
            for first in range(0, len(entries), _flows.ENTRIES_MAX):
                some = entries[first:first + _flows.ENTRIES_MAX]
                reply = yield from _flows.ask(self._engine, "commit", {"group": group_id, "entries": some}, place, deadline)
                for row in reply["refused"]:
                    raise of_number(row["error"], "%s/%d: %s" % (some[row["index"]]["topic"], some[row["index"]]["partition"],
                                                                row["message"]))

        self._run(flow())

    def reset_consumer_group_offsets(self, group_id: str, topic: str, to: Union[str, int], timestamp_ms: Optional[int] = None,
                                     partitions: Optional[Iterable[int]] = None) -> Dict[TopicPartition, int]:
        """`to`: earliest, latest, time (with timestamp_ms) or an offset. What was set, by partition."""
        def flow() -> Flow:
            deadline, found = self._deadline(None), {}
            reply = yield from _flows.metadata(self._engine, [topic], deadline)
            row = reply["topics"][0]
            if row["error"]:
                raise _errors.UnknownTopicError("topic '%s' does not exist" % topic)
            for number in wanted if wanted is not None else range(len(row["partitions"])):
                answers = {}
                for at in ("earliest", "latest") if isinstance(to, int) else (to,):
                    answer = yield from _flows.list_offsets(self._engine, topic, number, at, deadline, timestamp_ms or -1)
                    answers[at] = answer["offset"]
                found[TopicPartition(topic, number)] = (min(max(to, answers["earliest"]), answers["latest"])
                                                        if isinstance(to, int) else answers[to])
            return found

        if not isinstance(to, int) and to not in ("earliest", "latest", "time"):
            raise ValueError("to is %r; earliest, latest, time or an offset is wanted" % (to,))
        wanted = None if partitions is None else list(partitions)
        offsets: Dict[TopicPartition, int] = self._run(flow())
        self.alter_consumer_group_offsets(group_id, offsets)
        return offsets

    def _run(self, flow: Flow) -> Any:
        return self._engine.run(flow)


KafkaAdminClient = WeftAdminClient = AdminClient


def _names(names: Iterable[str]) -> List[str]:
    return [names] if isinstance(names, str) else _all_of(names, str, "a list of names is wanted, as ['orders']")


def _all_of(given: Iterable[Any], kind: type, wanted: str) -> List[Any]:
    if isinstance(given, kind) or not isinstance(given, Iterable):
        raise TypeError("%s; not a %s" % (wanted, type(given).__name__))
    found = list(given)
    for each in found:
        if not isinstance(each, kind):
            raise TypeError("%s; %r is none" % (wanted, each))
    return found


def _each(jobs: List[Tuple[str, Flow]]) -> Flow:
    """Runs them all, whatever becomes of the others. [TopicResult]; or raises the first failure, which tells of the others, too."""
    results: List[TopicResult] = []
    failed: List[Tuple[str, _errors.WeftError]] = []
    for name, job in jobs:
        try:
            yield from job
            results.append(TopicResult(name, 0, None))
        except _errors.WeftError as error:
            results.append(TopicResult(name, error.errno, str(error)))
            failed.append((name, error))
    if not failed:
        return results
    text = str(failed[0][1])
    if len(failed) > 1:
        text += "; not done, either: " + "; ".join("'%s' (%s)" % (name, error) for name, error in failed[1:])
    done = ["'%s'" % row.topic for row in results if row.error_code == 0]
    if done:
        text += "; done: " + ", ".join(done)
    raised = type(failed[0][1])(text, failed[0][1].outcome)
    raised.results = results
    raise raised


def _topic_config(values: Mapping[str, Any]) -> List[Dict[str, str]]:
    for key in values:
        if key in KAFKA_CONFIGS:
            raise _errors.InvalidConfigError("there is no setting '%s'; did you mean '%s'?" % (key, KAFKA_CONFIGS[key]), "not_applied")
    return _config(values)


def _config(values: Mapping[str, Any]) -> List[Dict[str, str]]:
    return [{"key": key, "value": ("true" if value else "false") if isinstance(value, bool) else str(value)}
            for key, value in values.items()]


def _entry(at: Tuple[str, int], value: Union[int, OffsetAndMetadata], token: int) -> Dict[str, Any]:
    offset, metadata, epoch = (value, "", -1) if isinstance(value, int) else value
    return {"topic": at[0], "partition": at[1], "offset": offset, "epoch": epoch, "token": token, "metadata": metadata or None}


def _described(row: Dict[str, Any]) -> Dict[str, Any]:
    return {"error_code": row["error"], "topic": row["name"], "is_internal": row["internal"], "partitions": [
        {"error_code": part["error"], "partition": part["partition"], "leader": part["leader"], "replicas": part["replicas"],
         "isr": part["isr"], "offline_replicas": part["offline"]} for part in row["partitions"]]}


def _broker(broker: Dict[str, Any]) -> Dict[str, Any]:
    endpoint = broker["endpoints"][0] if broker["endpoints"] else ""
    host, _, port = endpoint.rpartition("/")[2].rpartition(":")
    return {"node_id": broker["id"], "host": host, "port": int(port) if port.isdigit() else -1, "rack": broker["rack"] or None,
            "alive": broker["alive"], "endpoints": broker["endpoints"]}


def _member(row: Dict[str, Any]) -> MemberInformation:
    return MemberInformation(row["member"].hex(), row["client"], row["host"], MemberMetadata(0, row["topics"], None),
                             MemberAssignment(0, [(topic["topic"] or "", topic["partitions"]) for topic in row["owns"]], None))
