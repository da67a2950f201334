# SPDX-License-Identifier: MPL-2.0
"""What people get wrong, on real nodes: settings, endpoints, data directories, disks. Each is told what, where and what to do, changes nothing and loses nothing."""

import contextlib
import hashlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile

import msgpack

import peer as p
from harness import DEADLINE_S, WEFT, Up, run, up, wait_until, weft, weft_json
from peer import Peer, batch, record, refused


@contextlib.contextmanager
def node(verb, *settings):
    """`weft broker` or `weft coordinator` as a process of its own; .endpoint once it serves."""
    arguments = [argument for pair in settings for argument in ("--set", pair)]
    process = subprocess.Popen([WEFT, verb, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert " serves " in line, f"{line!r} {process.stderr.read() if process.poll() is not None else ''}"
        process.endpoint = line.split()[-1]
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)


def told(*arguments, words, status=(1,)):
    """The command fails, and says in a sentence or two all these words."""
    done = weft(*arguments, status=None)
    assert done.returncode in status, f"{arguments}: status {done.returncode}: {done.stderr!r}"
    said = [line for line in done.stderr.splitlines() if line and " info " not in line]
    for word in words:
        assert any(word in line for line in said), f"{arguments}: {said} does not say {word!r}"
    assert 1 <= len(said) <= 3, said
    return done.stderr


def content(directory):
    """Every file below and what it holds, but for the lock, which names its last holder."""
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(pathlib.Path(directory).rglob("*")) if path.is_file() and path.name != "lock"}


# ---- settings


def test_settings__a_wrong_key_or_value_is_named_with_what_is_allowed():
    cases = [("listn=tcp://x:1", ["listn", "listen"]), ("shards=0", ["shards", "1 to 64"]), ("shards=many", ["shards", "many"]), ("shards=65", ["64"]),
             ("id=-1", ["id", "-1"]), ("id=99999999999999999999", ["id"]), ("heartbeat.ms=1", ["heartbeat.ms", "10"]), ("peer.bytes=1MB", ["peer.bytes", "MiB"]),
             ("data=", ["data"]), ("listen=" + "x" * 300, ["listen"]), ("novalue", ["novalue"]), ("=5", ["no setting"]), ("a\nb=\x1b[31m", ["a?b"])]
    for verb in ("broker", "coordinator"):
        for pair, words in cases:
            if verb == "coordinator" and pair.split("=")[0] in ("shards", "peer.bytes"):
                continue
            told(verb, "--set", pair, words=words if verb == "broker" or pair != "id=-1" else ["id"], status=(2,))


def test_settings__a_wrong_file_is_told_with_its_line():
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "broker.conf"
        cases = [(b"id = 3\nlistn = x\n", [f"{path}:2", "listen"]), (b"# c\n\nid = 3\nshards = none\n", [f"{path}:4", "shards"]),
                 (b"id = 3\n\tshards = 2\n", [f"{path}:2", "tab"]), (b"id = \"3\n", [f"{path}:1", "quote"]), (b"id 3\n", [f"{path}:1", "key = value"]),
                 (b"a" * 5000 + b" = 1\n", [f"{path}:1"]), (b"      id = 3\n", [f"{path}:1"]), (b"session\n    expiry\n        m = 1\n", [f"{path}:3"]),
                 (bytes(range(256)) * 10, [f"{path}:1"]), (b"\x7fELF" + bytes(4000), [f"{path}:1"]), (b"id = 3\nid = 4\n", [f"{path}:2"]),
                 (b"id = 3\n" * 2000000, [str(path)])]
        for text, words in cases:
            path.write_bytes(text)
            told("broker", "--config", path, words=words, status=(2,))
        told("broker", "--config", directory, words=[directory], status=(2,))
        told("broker", "--config", path.with_name("absent"), words=["absent"], status=(2,))
        told("broker", "--config", "/dev/zero", words=["/dev/zero"], status=(2,))


# ---- endpoints


def test_endpoints__nonsense_is_told():
    with tempfile.TemporaryDirectory() as data:
        for endpoint, word in (("nonsense", "tcp://"), ("tcp://", "tcp://"), ("tcp://127.0.0.1", "port"), ("tcp://127.0.0.1:99999", "65535"),
                               ("tcp://127.0.0.1:x", "port"), ("tcp://:5000", "host"), ("udp://127.0.0.1:5", "transport"), ("ipc://", "path"),
                               ("ipc://" + "x" * 200, "107"), ("ipc:///no/such/folder/x", "/no/such/folder"), ("tcp://192.0.2.1:5000", "machine"),
                               ("tcp://no.such.host.invalid:5000", "no.such.host"), ("inproc://", "name")):
            told("broker", "--set", f"listen={endpoint}", "--set", f"data={data}/b", words=[word, endpoint.removeprefix("ipc://")[:40]], status=(1, 2))
            told("up", "--listen", endpoint, "--data", f"{data}/u", words=[word if word != "65535" else "99999"], status=(1, 2))
            if "192.0.2" not in endpoint and "such" not in endpoint:
                told("topic", "list", "--bootstrap", endpoint, "--timeout", "300ms", words=[endpoint[:40]], status=(1, 2))
        told("broker", "--set", "coordinators=nonsense", "--set", f"data={data}/b", "--set", "listen=tcp://127.0.0.1:*", words=["nonsense"])


def test_endpoints__one_in_use_is_told_for_tcp_and_ipc():
    with tempfile.TemporaryDirectory() as data:
        taken = socket.create_server(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        told("broker", "--set", f"listen={endpoint}", "--set", f"data={data}/b", words=["in use", endpoint])
        told("coordinator", "--set", f"listen={endpoint}", "--set", f"data={data}/c", words=["in use", endpoint])
        taken.close()
        path = f"{data}/socket"
        with node("coordinator", f"listen=ipc://{path}", f"data={data}/c") as running:
            told("coordinator", "--set", f"listen=ipc://{path}", "--set", f"data={data}/d", words=["in use", path])
            assert weft_json("cluster", "status", bootstrap=running.endpoint)["topics"] == 0  # it still has its endpoint
        stranger = socket.socket(socket.AF_UNIX)
        stranger.bind(f"{data}/strange")
        stranger.listen()
        told("coordinator", "--set", f"listen=ipc://{data}/strange", "--set", f"data={data}/d", words=["in use", "strange"])
        assert os.path.exists(f"{data}/strange")
        stranger.close()
        with node("coordinator", f"listen=ipc://{data}/strange", f"data={data}/d"):  # what a dead process left is no hindrance
            pass


# ---- data directories


def test_directory__of_another_node_or_cluster_is_refused_and_left_as_it_is():
    with up() as first, tempfile.TemporaryDirectory() as other:
        first.weft("topic", "create", "orders")
        first.weft("produce", "orders", input="kept\n")
        data = first.directory / "data"
        assert first.stop() == 0
        before = content(data)
        free = "listen=tcp://127.0.0.1:*"
        told("broker", "--set", "id=2", "--set", free, "--set", f"data={data}/broker-1", words=["broker 1", "broker 2", "broker-1"])
        told("broker", "--set", free, "--set", f"data={data}/coordinator-1", words=["coordinator 1", "broker 1"])
        told("coordinator", "--set", free, "--set", f"data={data}/broker-1", words=["broker 1", "coordinator 1"])
        told("coordinator", "--set", "id=7", "--set", free, "--set", f"data={data}/coordinator-1", words=["coordinator 1", "coordinator 7"])
        assert content(data) == before
        with node("coordinator", free, f"data={other}/c") as stranger:
            told("broker", "--set", free, "--set", f"data={data}/broker-1", "--set", f"coordinators={stranger.endpoint}", words=["cluster"])
        assert {k: v for k, v in content(data).items() if k.endswith(".log") or k.endswith("identity")} == {
            k: v for k, v in before.items() if k.endswith(".log") or k.endswith("identity")}
        first.start()
        assert first.weft("consume", "orders", "--from", "earliest", "--exit-at-end").stdout == "kept\n"


def test_directory__in_use_is_refused_with_the_process_that_holds_it():
    with up() as first:
        for verb, directory in (("broker", "broker-1"), ("coordinator", "coordinator-1")):
            told(verb, "--set", "listen=tcp://127.0.0.1:*", "--set", f"data={first.directory}/data/{directory}",
                 words=["in use", f"process {first.process.pid}", directory])
        first.weft("topic", "create", "orders")


def test_directory__what_is_none_is_told():
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / "file"
        file.write_text("not a directory")
        told("broker", "--set", "listen=tcp://127.0.0.1:*", "--set", f"data={directory}/{'x' * 200}", words=["data", "longer"], status=(1, 2))
        for path in (file, file / "below", pathlib.Path("/proc/none")):
            told("broker", "--set", "listen=tcp://127.0.0.1:*", "--set", f"data={path}", words=[str(path)[:60]], status=(1, 2))
            told("up", "--listen", "tcp://127.0.0.1:*", "--data", path, words=[str(path)[:60]], status=(1, 2))
        assert file.read_text() == "not a directory"


def identities(data):
    return [data / "broker-1/identity", data / "coordinator-1/identity"]


def test_directory__of_a_newer_format_is_refused_and_left_as_it_is():
    with up() as first:
        first.weft("topic", "create", "orders")
        data = first.directory / "data"
        assert first.stop() == 0
        for path in identities(data):
            original = path.read_bytes()
            found = msgpack.unpackb(original[:-5])
            newer = msgpack.packb({**found, "format": found["format"] + 1})
            path.write_bytes(newer + msgpack.packb(p.crc32c(newer) | 1 << 31)[:1] + p.crc32c(newer).to_bytes(4, "big"))
            before = content(path.parent)
            told("up", "--listen", "tcp://127.0.0.1:*", "--data", data, words=["format", str(found["format"] + 1), str(path.parent), "newer"])
            assert content(path.parent) == before
            path.write_bytes(original)
        first.start()
        assert "orders" in first.weft("topic", "list").stdout


def test_directory__a_damaged_identity_is_refused_and_left_as_it_is():
    with up() as first:
        data = first.directory / "data"
        assert first.stop() == 0
        for path in identities(data):
            original = path.read_bytes()
            flipped = bytearray(original)
            flipped[len(flipped) // 2] ^= 4
            for damaged in (bytes(flipped), original[:-1], original[:7], b"", original + b"\0", os.urandom(100), bytes(100), b"\xdf\xff\xff\xff\xff" + bytes(20),
                            bytes(1 << 20)):
                path.write_bytes(damaged)
                before = content(path.parent)
                told("up", "--listen", "tcp://127.0.0.1:*", "--data", data, words=["damaged", str(path)])
                assert content(path.parent) == before
            path.write_bytes(original)
        first.start()


# ---- the nodes around the cluster


def test_nodes__an_endpoint_that_is_none_is_named_with_what_it_should_be():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        cases = [("foo", "tcp://HOST:PORT"), ("udp://127.0.0.1:5", "tcp://HOST:PORT"), ("tcp://127.0.0.1", "port"), ("tcp://127.0.0.1:", "port"), ("tcp://127.0.0.1:-1", "port"),
                 ("tcp://127.0.0.1:99999", "65535"), ("tcp://192.0.2.1:5", "address of this machine"), ("ipc:///no/such/place", "No such file"), (taken, taken)]
        nodes = {"tap": ("listen", "topic=a", "replay="), "player": ("listen", "topic=a"), "recorder": ("listen", "topic=a"), "bridge": ("listen",), "edge": ("listen",)}
        for verb, (option, *settings) in nodes.items():
            for endpoint, word in cases:
                told(verb, *(part for pair in (*settings, f"{option}={endpoint}") for part in ("--set", pair)), words=[endpoint.removeprefix("ipc://"), word])
        for verb, option in (("recorder", "source"), ("player", "target")):
            for endpoint in ("foo", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:0", "tcp://127.0.0.1"):
                told(verb, "--set", "topic=a", "--set", f"{option}={endpoint}", words=[f"{option}={endpoint}"])
        told("edge", "--set", "listen=tcp://127.0.0.1:*", "--set", "advertise=foo", words=["advertise", "foo", "tcp://HOST:PORT"])


def test_nodes__a_spool_that_is_no_directory_is_told():
    with tempfile.TemporaryDirectory(prefix="weft-system-") as directory:
        path = pathlib.Path(directory)
        (path / "file").write_text("x")
        os.mkfifo(path / "fifo")
        for name in ("file", "file/below", "fifo"):
            told("edge", "--set", "listen=tcp://127.0.0.1:*", "--set", f"spool={path / name}", words=[str(path / name), "directories"])
        for name in ("identity", "renamed", "checkpoint"):
            spool = path / f"with-{name}"
            (spool / name).mkdir(parents=True)
            told("edge", "--set", "listen=tcp://127.0.0.1:*", "--set", f"spool={spool}", words=[str(spool), name])


# ---- logs


def segment(first, topic, partition):
    """The newest segment of a partition."""
    id_text = weft_json("topic", "describe", topic, bootstrap=first.endpoint)["topic_id"]
    return sorted((first.directory / "data/broker-1/topics" / id_text / str(partition)).glob("*.log"))[-1]


def recorded_ends(first):
    """The synced ends that the broker wrote down last: the newer of the two slots of `checkpoint`."""
    path, slots = first.directory / "data/broker-1/checkpoint", []
    content_ = path.read_bytes() if path.exists() else b""
    for slot in (content_[: len(content_) // 2], content_[len(content_) // 2 :]):
        with contextlib.suppress(ValueError, TypeError, IndexError):
            slots.append(msgpack.unpackb(slot[5 : 5 + int.from_bytes(slot[1:5], "big")]))
    return [entry["synced_end"] for entry in max(slots, key=lambda slot: slot["generation"])["entries"]] if slots else []


def filled(first):
    """A topic of two partitions with 50 batches in each; returns its segments."""
    first.weft("topic", "create", "orders", "--partitions", 2)
    with Peer(first.endpoint) as peer:
        for partition in (0, 1):
            for n in range(50):
                assert peer.ask("produce", batch([record(b"%d" % n)]), topic="orders", partition=partition)["offset"] == n
    # Above the recorded ends damage can't be told from a torn tail.
    wait_until(lambda: recorded_ends(first) == [50, 50], "the synced ends are recorded")
    return [segment(first, "orders", partition) for partition in (0, 1)]


def test_log__damage_below_the_synced_end_is_named_and_the_rest_is_served():
    for clean in (False, True):
        with up() as first:
            damaged, _ = filled(first)
            first.stop() if clean else first.kill()
            bytes_ = bytearray(damaged.read_bytes())
            bytes_[len(bytes_) // 2] ^= 0x10
            damaged.write_bytes(bytes(bytes_))
            before = damaged.read_bytes()
            first.start()
            with Peer(first.endpoint) as peer:
                assert peer.ask("fetch", topic="orders", partition=1, offset=0)["error"] == 0 and peer.data
                assert peer.ask("produce", batch(), topic="orders", partition=1)["offset"] == 50
                if not clean:  # an unclean start reads everything
                    for api, data, fields in (("fetch", None, {"offset": 0}), ("produce", batch(), {}), ("list_offsets", None, {})):
                        reply = refused(peer.ask(api, data, topic="orders", partition=0, **fields), "DAMAGED")
                        assert "orders/0" in reply["message"] and damaged.name in reply["message"], reply
                    status = weft_json("node", "status", bootstrap=first.endpoint)
                    assert status["counters"]["partitions_refused_count"] == 1
                    assert status["health"] == "degraded" and "orders/0" in status["message"], status
                    assert "orders/0" in first.trace()
            done = first.weft("consume", "orders", "--partition", 0, "--from", "earliest", "--exit-at-end", status=1)
            assert "orders" in done.stderr, (clean, done.stderr)
            assert first.weft("consume", "orders", "--partition", 1, "--from", "earliest", "--exit-at-end").stdout.count("\n") == 51
            first.weft("topic", "create", "more")
            first.weft("produce", "more", input="x\n")
            assert damaged.read_bytes() == before
            first.weft("topic", "delete", "orders")
            assert first.process.poll() is None


def test_log__a_batch_that_rots_after_a_clean_stop_is_told_to_the_operator_and_passed():
    with up() as first:
        damaged, _ = filled(first)
        first.stop()
        bytes_ = bytearray(damaged.read_bytes())
        batches = msgpack.Unpacker(max_buffer_size=0)
        batches.feed(bytes(bytes_))
        for _ in range(20):
            batches.skip()
        begin = batches.tell()
        batches.skip()
        bytes_[batches.tell() - 1] ^= 0x10  # in the payload of the batch at offset 20
        damaged.write_bytes(bytes(bytes_))
        first.start()
        assert weft_json("node", "status", bootstrap=first.endpoint)["health"] == "serving"
        done = first.weft("consume", "orders", "--partition", 0, "--from", "earliest", "--exit-at-end", status=1)
        assert done.stdout.count("\n") == 20 and "offsets 20 to 20 " in done.stderr and "seek to 21" in done.stderr, done.stderr

        def degraded():
            return weft_json("node", "status", bootstrap=first.endpoint)["health"] == "degraded"

        wait_until(degraded, "the broker tells of the damage")
        status = weft_json("node", "status", bootstrap=first.endpoint)
        assert all(word in status["message"] for word in ("orders/0", damaged.name, f"byte {begin}:", "offsets 20 to 20 ")), status
        assert status["counters"]["batches_damaged_count"] == 1 and damaged.name in first.trace()
        done = first.weft("consume", "orders", "--partition", 0, "--from", 21, "--exit-at-end")
        assert done.stdout.count("\n") == 29, done.stdout
        with Peer(first.endpoint) as peer:  # what is good there is not told, however often it is asked
            assert peer.ask("partition_status", topic="orders", partition=1, suspect_offset=20)["error"] == 0
            assert peer.ask("partition_status", topic="orders", partition=0, suspect_offset=2**62)["error"] == 0
            assert peer.counters()["batches_damaged_count"] == 1
        first.stop()
        verify = weft("log", "verify", damaged.parent, status=1)
        assert "offsets 20 to 20:" in verify.stdout + verify.stderr, verify


def test_log__a_torn_tail_is_cut_and_counted():
    tails = [b"\x9e", batch([record(b"torn" * 100)])[:-7], os.urandom(4096), bytes(10000), b"\x9e\xd3" + b"\xff" * 300, batch(payload_bytes=2**32 - 1)]
    for tail in tails:
        with up() as first:
            torn, _ = filled(first)
            first.kill()
            with open(torn, "ab") as file:
                file.write(tail)
            first.start()
            with Peer(first.endpoint) as peer:
                status = peer.ask("partition_status", topic="orders", partition=0)
                assert (status["log_end"], status["high_watermark"]) == (50, 50), status
                assert peer.ask("produce", batch(), topic="orders", partition=0)["offset"] == 50
                assert peer.counters()["torn_bytes"] == len(tail) or not any(tail), peer.counters()
            assert first.weft("consume", "orders", "--partition", 0, "--from", "earliest", "--exit-at-end").stdout.count("\n") == 51


# ---- a full disk


@contextlib.contextmanager
def small_disk(mib):
    """A tmpfs of its own, or None where that may not be mounted."""
    with tempfile.TemporaryDirectory(prefix="weft-system-") as directory:
        place = pathlib.Path(directory) / "disk"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", place], capture_output=True, text=True)
        if done.returncode != 0:
            yield None
            return
        try:
            yield place
        finally:
            subprocess.run(["umount", place], check=True)


def fill(place):
    """Takes all the space that is left."""
    with contextlib.suppress(OSError), open(place / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_disk__a_full_one_refuses_writes_serves_reads_and_goes_on_by_itself():
    with small_disk(24) as place:
        if place is None:
            print("skipped: mounting a small tmpfs is not permitted here")
            return
        first = Up(place).start()
        try:
            first.weft("topic", "create", "orders", "--set", "segment.bytes=1MiB")
            acknowledged = []

            def produce(peer, n):
                reply = peer.ask("produce", batch([record(b"%d " % n + b"x" * 50000)], attributes=p.CRC_ABSENT), topic="orders", partition=0)
                if reply["error"] == 0:
                    acknowledged.append((reply["offset"], n))
                return reply

            with Peer(first.endpoint) as peer:
                for n in range(40):
                    assert produce(peer, n)["error"] == 0
                for turn in range(2):
                    fill(place)
                    wait_until(lambda: produce(peer, 1000 + turn)["error"] != 0, "the disk is full")
                    for n in range(5):
                        refused(produce(peer, 2000 + n), "DISK_FULL")
                    assert peer.ask("fetch", topic="orders", partition=0, offset=0)["error"] == 0 and peer.data
                    status = weft_json("node", "status", bootstrap=first.endpoint)
                    assert status["counters"]["partitions_disk_full_count"] == 1, status
                    assert first.weft("consume", "orders", "--from", "earliest", "--exit-at-end", "--format", "%o\\n").stdout.count("\n") == len(acknowledged)
                    with Peer(peer.ask("metadata")["coordinators"][0]) as coordinator:
                        replies = [coordinator.ask("topic_create", topic=f"new-{turn}-{n}", partitions=20) for n in range(30)]  # the first may find room
                        refused(replies[-1], "DISK_FULL")
                        known = {topic["name"] for topic in coordinator.ask("metadata")["topics"]}
                        assert known >= {f"new-{turn}-{n}" for n, reply in enumerate(replies) if reply["error"] == 0}
                        assert not known & {f"new-{turn}-{n}" for n, reply in enumerate(replies) if reply["error"] != 0}
                    told("topic", "create", "refused", "--bootstrap", first.endpoint, "--partitions", 20, "--timeout", "2s", words=["disk is full"])
                    (place / "filler").unlink()
                    wait_until(lambda: produce(peer, 3000 + turn)["error"] == 0, "writing goes on by itself")
                    wait_until(lambda: weft("topic", "create", f"later-{turn}", bootstrap=first.endpoint, status=None).returncode == 0, "topics can be created again")
                    first.weft("produce", f"later-{turn}", input="x\n")
                    counters = weft_json("node", "status", bootstrap=first.endpoint)["counters"]
                    assert counters["partitions_disk_full_count"] == 0, counters
            assert first.process.poll() is None
            first.kill()
            first.start()
            out = first.weft("consume", "orders", "--from", "earliest", "--exit-at-end", "--format", "%o %v\\n").stdout.splitlines()
            found = [(int(line.split()[0]), int(line.split()[1])) for line in out]
            assert found == acknowledged, "what was acknowledged is not what is there"
        finally:
            if first.process.poll() is None:
                first.kill()


def test_disk__a_spool_on_one_that_is_full_or_may_not_be_written_is_told():
    with small_disk(1) as place:
        if place is None:
            print("skipped: mounting a small tmpfs is not permitted here")
            return
        fill(place)
        told("edge", "--set", "listen=tcp://127.0.0.1:*", "--set", f"spool={place}/spool", words=["full"])
        (place / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        for spool in (place, place / "spool"):
            told("edge", "--set", "listen=tcp://127.0.0.1:*", "--set", f"spool={spool}", words=[str(spool), "write there"])


def test_disk__a_full_one_at_the_start_is_told():
    with small_disk(1) as place:
        if place is None:
            print("skipped: mounting a small tmpfs is not permitted here")
            return
        fill(place)
        told("up", "--listen", "tcp://127.0.0.1:*", "--data", place / "data", words=["full"])


if __name__ == "__main__":
    run(globals())
