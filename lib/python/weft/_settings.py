# SPDX-License-Identifier: MPL-2.0
"""Settings that all clients share, and the refusal of what makes no sense: a TypeError or ValueError that names the argument.

A setting that is wrong is told by the constructor, before anything is connected; not by what goes wrong later, on another thread."""
import difflib
import inspect
import os
import re
from typing import Any, Dict, Optional, Tuple

from ._errors import InvalidTopicError
from ._link import endpoints_of
from .structs import TopicPartition

CONNECT_MS = 5000

_NO_ACL = "connections are neither encrypted nor authenticated"
_BY_ITSELF = "the client does that by itself"
NEEDLESS = {  # arguments of kafka-python that mean nothing here, and why
    "api_version": "nodes tell their versions themselves",
    "api_version_auto_timeout_ms": "nodes tell their versions themselves",
    "heartbeat_interval_ms": "the coordinator tells how often it is to hear of members",
    "reconnect_backoff_ms": _BY_ITSELF,
    "reconnect_backoff_max_ms": _BY_ITSELF,
    "connections_max_idle_ms": "connections stay",
    "receive_buffer_bytes": _BY_ITSELF,
    "send_buffer_bytes": _BY_ITSELF,
    "socket_options": _BY_ITSELF,
    "sock_chunk_bytes": _BY_ITSELF,
    "sock_chunk_buffer_count": _BY_ITSELF,
    "max_in_flight_requests_per_connection": "each partition has one fetch under way",
    "metadata_max_age_ms": "what it needs to know is asked for each time",
    "exclude_internal_topics": "a pattern never matches internal topics",
    "allow_auto_create_topics": "topics are never made by being named",
    "legacy_iterator": "there is one iterator",
    "selector": _BY_ITSELF,
    "default_offset_commit_callback": "give commit_async() a callback; what fails otherwise is told to the logger weft.consumer",
    "metric_reporters": "metrics() tells the counters",
    "metrics_num_samples": "metrics() tells the counters",
    "metrics_enabled": "metrics() tells the counters",
    "metrics_sample_window_ms": "metrics() tells the counters",
    "isolation_level": "there are no transactions; read='durable' is what comes near",
    "transactional_id": "there are no transactions",
    "transaction_timeout_ms": "there are no transactions",
    "security_protocol": _NO_ACL,
    "kafka_client": "there is no such part",
    "bootstrap_timeout_ms": "it is connect_timeout_ms here",
    "bootstrap_topics_filter": "what it needs to know is asked for each time",
    "client_dns_lookup": _BY_ITSELF,
    "enable_incremental_fetch_sessions": _BY_ITSELF,
    "metric_group_prefix": "metrics() tells the counters",
    "proxy_url": "there are no proxies",
    "receive_message_max_bytes": _BY_ITSELF,
}
TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")
TOPIC_BYTES_MAX = 249


def bootstrap_default() -> str:
    return os.environ.get("WEFT_BOOTSTRAP") or "tcp://127.0.0.1:9650"


def servers_of(bootstrap_servers: Any) -> Tuple[str, ...]:
    return endpoints_of(bootstrap_default() if bootstrap_servers is None else bootstrap_servers)


def connect_seconds(connect_timeout_ms: Optional[float], request_timeout_ms: float) -> float:
    """How long a constructor waits for the first connection."""
    if connect_timeout_ms is None:
        return min(CONNECT_MS, request_timeout_ms) / 1000
    check_numbers(0, connect_timeout_ms=connect_timeout_ms)
    return connect_timeout_ms / 1000


def check_numbers(least: float, **values: Any) -> None:
    """Ints or floats, not less than this."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError("%s is %r; a number is wanted" % (name, value))
        if not value >= least:
            raise ValueError("%s is %r; %r or more is wanted" % (name, value, least))


def check_ints(least: int, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError("%s is %r; an int is wanted" % (name, value))
    check_numbers(least, **values)


def check_bools(**values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, bool):
            raise TypeError("%s is %r; True or False is wanted" % (name, value))


def check_strs(**values: Any) -> None:
    """Or None."""
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise TypeError("%s is %r; a str is wanted" % (name, value))
        if value is not None and not is_text(value):
            raise ValueError("%s is %r; that is no legal UTF-8" % (name, value))


def is_text(value: str) -> bool:
    """It can be encoded: it has no lone surrogates."""
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def check_topic(name: Any, or_glob: bool = False) -> str:
    """Before it is asked for with other names: a request that names what can't be a topic is refused as a whole."""
    if not isinstance(name, str):
        raise TypeError("topic is %r; a str is wanted" % (name,))
    if or_glob and is_glob(name) and is_text(name) and len(name.encode()) <= TOPIC_BYTES_MAX:
        return name
    if not TOPIC_NAME.match(name):
        shown = ascii(name) if len(name) <= 60 else "%s... (%d characters)" % (ascii(name[:40]), len(name))
        raise InvalidTopicError("%s can't be a topic: its name is 1 to 249 letters, digits, '.', '_' and '-'" % shown)
    return name


def check_partition(given: Any) -> TopicPartition:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError("%r is no TopicPartition, as TopicPartition('orders', 0)" % (given,))
    topic, number = given
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise TypeError("the partition of %r is none; an int from 0 is wanted, as TopicPartition('orders', 0)" % (given,))
    return TopicPartition(check_topic(topic), number)


def is_glob(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def seconds_of(timeout_ms: Optional[float], default: float) -> float:
    if timeout_ms is None:
        return default
    check_numbers(0, timeout_ms=timeout_ms)
    return timeout_ms / 1000


def check_function(name: str, value: Any, method: str) -> None:
    if value is not None and not callable(value) and not hasattr(value, method):
        raise TypeError("%s is %r; a function, or an object with %s(), is wanted" % (name, value, method))


def refuse_others(client: type, others: Dict[str, Any]) -> None:
    """Keyword arguments that the client does not have. Those of kafka-python that say what is so here anyway are taken."""
    for name, value in others.items():
        why = NEEDLESS.get(name)
        if name.startswith(("sasl_", "ssl_", "socks5_")):
            why = _NO_ACL
        if why is None:
            known = inspect.signature(client.__init__).parameters  # type: ignore[misc]
            names = [each for each in known if each not in ("self", "topics", "others")]
            near = difflib.get_close_matches(name, names, 1) or [each for each in names if len(name) > 2 and name in each]
            raise TypeError("%s() got an unexpected keyword argument '%s'%s" % (client.__name__, name, near and (
                "; did you mean '%s'?" % near[0]) or ""))
        if value is None or (name == "security_protocol" and value == "PLAINTEXT") or (
                name == "allow_auto_create_topics" and value is False) or (name == "exclude_internal_topics" and value is True):
            continue
        raise TypeError("%s() takes no argument '%s', leave it out: %s" % (client.__name__, name, why))
