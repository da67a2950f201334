# SPDX-License-Identifier: MPL-2.0
"""The Python client where programs are untidy: records they can't read, Ctrl-C, fork, clients nobody closes, tasks that are cancelled."""

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

from harness import ROOT, run, up
from python_client import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, fill, make, raises, reader, wait_until

from weft import errors
from weft.aio import AIOConsumer


def program(text, endpoint, interrupt=None):
    """Runs it; what it prints. interrupt: SIGINT once it has printed this line."""
    process = subprocess.Popen([sys.executable, "-u", "-W", "ignore", "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT / "lib/python"), "WEFT_BOOTSTRAP": endpoint})
    timer = threading.Timer(60, process.kill)
    timer.start()
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if lines[-1] == interrupt:
            process.send_signal(signal.SIGINT)
    process.wait()
    timer.cancel()
    return lines


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("weft-")]


def test_python_life__a_record_that_can_not_be_read_is_met_again_until_it_is_sought_past():
    def read(value):
        if value == b"bad":
            raise KeyError("this record")
        return value

    with up() as node:
        make(node.endpoint, "things")
        values = [b"a", b"b", b"bad", b"c", b"bad"]
        fill(node.endpoint, "things", values)
        at = TopicPartition("things", 0)
        with reader(node.endpoint, "things", group_id="g", value_deserializer=read) as consumer:
            assert [next(consumer).value, next(consumer).value] == [b"a", b"b"]
            for _ in range(3):
                raises(KeyError, lambda: next(consumer), "this record")
                raises(KeyError, lambda: consumer.poll(5000), "this record")
                assert consumer.position(at) == 2
            consumer.commit()
            assert consumer.committed(at) == 2
            consumer.seek(at, 3)
            assert [row.value for row in consumer.poll(5000)[at]] == [b"c"]
            raises(KeyError, lambda: consumer.poll(5000))
        with reader(node.endpoint, "things", key_deserializer=lambda key: {b"k": 1}[key], value_deserializer=lambda value: value) as consumer:
            assert [record.key for record in consumer] == [1] * len(values)


def test_python_life__what_poll_has_found_is_not_lost_to_what_happens_meanwhile():
    with up() as node:
        make(node.endpoint, "things", 2)
        with KafkaProducer(bootstrap_servers=node.endpoint, linger_ms=0) as producer:
            for number in range(200):
                producer.send("things", b"%d" % number, partition=number % 2)
                if number % 5 == 0:
                    producer.flush()
        got, woken, end = [], 0, threading.Event()
        with reader(node.endpoint, "things") as consumer:
            def disturb():
                while not end.wait(0.0005):
                    consumer.wakeup()

            thread = threading.Thread(target=disturb)
            thread.start()
            deadline = time.monotonic() + 30
            while len(got) < 200 and time.monotonic() < deadline:
                try:
                    got += [(row.partition, row.offset) for rows in consumer.poll(50).values() for row in rows]
                except errors.WakeupError:
                    woken += 1
            end.set()
            thread.join()
        assert sorted(got) == [(partition, offset) for partition in range(2) for offset in range(100)] and woken


def test_python_life__ctrl_c_costs_no_record():
    with up() as node:
        make(node.endpoint, "things")
        fill(node.endpoint, "things", [b"%d" % number for number in range(10)])
        printed = program("""
            from weft import KafkaConsumer
            with KafkaConsumer("things", group_id="g", auto_offset_reset="earliest") as consumer:
                count = 0
                while True:
                    try:
                        for record in consumer:
                            count += 1
                            if count == 10:
                                print("waits")
                    except KeyboardInterrupt:
                        break
                print(count, consumer.position(("things", 0)))
            print("closed")
            """, node.endpoint, interrupt="waits")
        assert printed == ["waits", "10 10", "closed"], printed
        with KafkaAdminClient(bootstrap_servers=node.endpoint) as admin:
            assert admin.list_consumer_group_offsets("g")[TopicPartition("things", 0)].offset == 10


def test_python_life__after_a_fork_a_client_says_that_it_is_the_parents():
    with up() as node:
        make(node.endpoint, "things")
        fill(node.endpoint, "things", [b"one"])
        printed = program("""
            import os, sys
            from weft import KafkaAdminClient, KafkaConsumer, KafkaProducer
            from weft.errors import WeftError
            producer = KafkaProducer(linger_ms=1000)
            waits = producer.send("things", b"two")
            consumer = KafkaConsumer("things", group_id="g", auto_offset_reset="earliest")
            next(consumer)
            admin = KafkaAdminClient()
            if os.fork() == 0:
                for name, call in (("get", lambda: waits.get(5)), ("send", lambda: producer.send("things", b"x").get(5)),
                                   ("poll", lambda: consumer.poll(5000)), ("commit", consumer.commit), ("admin", admin.list_topics)):
                    try:
                        print(name, call())
                    except WeftError as error:
                        print(name, "before a fork" in str(error))
                with KafkaProducer() as mine:
                    print("its own", mine.send("things", b"three").get(5).offset > 0)
                for client in (producer, consumer, admin):
                    client.close()
                sys.exit(7)
            print("child", os.wait()[1] >> 8)
            print("parent", waits.get(5).offset > 0, producer.send("things", b"four").get(5).offset > 0, len(admin.list_topics()))
            print(sum(len(rows) for rows in consumer.poll(5000).values()) > 0)
            consumer.close()
            """, node.endpoint)
        assert printed == ["get True", "send True", "poll True", "commit True", "admin True", "its own True", "child 7",
                           "parent True True 1", "True"], printed


def test_python_life__clients_that_are_dropped_end_by_themselves():
    def use(endpoint):
        consumer = reader(endpoint, "things", group_id="g")
        next(consumer)
        next(reader(endpoint, "things"))
        KafkaAdminClient(bootstrap_servers=endpoint).list_topics()
        return KafkaProducer(bootstrap_servers=endpoint, linger_ms=60000).send("things", b"two")

    with up() as node:
        make(node.endpoint, "things")
        fill(node.endpoint, "things", [b"one"])
        files = len(os.listdir("/proc/self/fd"))
        sent = use(node.endpoint)
        gc.collect()
        assert sent.get(10).offset == 1  # what was taken in is delivered first
        wait_until(lambda: not threads(), "the threads to end")
        assert len(os.listdir("/proc/self/fd")) <= files + 2
        with KafkaAdminClient(bootstrap_servers=node.endpoint) as admin:
            assert admin.describe_consumer_groups(["g"])[0].members == []
            assert admin.list_consumer_group_offsets("g") == {}
        program("""
            from weft import KafkaProducer
            def work():
                producer = KafkaProducer(linger_ms=60000)
                for number in range(100):
                    producer.send("things", b"more")
            work()
            """, node.endpoint)
        with reader(node.endpoint, "things") as consumer:
            assert sum(1 for _ in consumer) == 102


def test_python_life__a_topic_that_can_not_be_harms_no_other():
    with up() as node:
        make(node.endpoint, "things")
        with KafkaProducer(bootstrap_servers=node.endpoint) as producer:
            for name in ("", "a b", "x" * 250, "\ud800", "things\n"):
                raises(errors.InvalidTopicError, lambda: producer.send(name, b""), "can't be a topic")
            raises(TypeError, lambda: producer.send("things", b"", partition="0"), "partition is '0'")
            assert producer.send("things", b"good").get(10).offset == 0
        with KafkaConsumer(bootstrap_servers=node.endpoint, group_id="g") as consumer:
            for bad in (["x" * 250], ["\ud800*"], ["a b"]):
                raises(errors.InvalidTopicError, lambda: consumer.subscribe(bad))
            for bad in ("things", ("things", "0"), ("things", -1), ("things", 1.5), ("things",)):
                raises(TypeError, lambda: consumer.assign([bad]), "TopicPartition(")
                raises(TypeError, lambda: consumer.end_offsets([bad]))
            raises(errors.UnknownTopicError, lambda: consumer.end_offsets([("things", 1)]), "no partition 1")
            consumer.assign([("things", 0)])
            raises(TypeError, lambda: consumer.commit({("things", 0): "1"}), "no offset")
            assert consumer.end_offsets([("things", 0)]) == {TopicPartition("things", 0): 1}
        with KafkaAdminClient(bootstrap_servers=node.endpoint) as admin:
            raises(errors.InvalidArgumentError, lambda: admin.delete_topics(["\ud800"]))
            raises(TypeError, lambda: admin.describe_topics([5]), "a list of names")
            raises(TypeError, lambda: admin.delete_topics(["things"], timeout_ms="soon"), "timeout_ms is 'soon'")
            assert admin.list_topics() == ["things"]


async def _read_with_cancellations(endpoint, count):
    got, cancelled, dice = [], 0, random.Random(1)
    async with AIOConsumer("things", bootstrap_servers=endpoint, group_id="g", auto_offset_reset="earliest") as consumer:
        async def take():
            if dice.random() < 0.5:
                got.append(await consumer.getone())
            else:
                for rows in (await consumer.getmany(timeout_ms=50, max_records=7)).values():
                    got.extend(rows)

        end = asyncio.get_running_loop().time() + 30
        while len(got) < count and asyncio.get_running_loop().time() < end:
            task = asyncio.ensure_future(take())
            await asyncio.wait([task], timeout=dice.random() * 0.002)
            task.cancel()
            if dice.random() < 0.5:  # and once more, while it makes way
                await asyncio.wait([task], timeout=0)
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled += 1
    return [record.offset for record in got], cancelled


def test_python_life__tasks_that_are_cancelled_lose_no_record():
    with up() as node:
        make(node.endpoint, "things")
        with KafkaProducer(bootstrap_servers=node.endpoint, linger_ms=0) as producer:
            def feed():
                for number in range(500):
                    producer.send("things", b"%d" % number).get(30)

            thread = threading.Thread(target=feed)
            thread.start()
            offsets, cancelled = asyncio.run(_read_with_cancellations(node.endpoint, 500))
            thread.join()
        assert offsets == list(range(500)) and cancelled


if __name__ == "__main__":
    run(globals())
