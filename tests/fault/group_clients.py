# SPDX-License-Identifier: MPL-2.0
"""Members of consumer groups as processes (`weft consume --group`), what they printed, and the verdict over it (O8, and O4 for groups)."""

import os
import re
import signal
import subprocess
import threading

import clients
import nodes


class Member:
    """One process; its records in the order printed, the offsets that the group gave it."""

    def __init__(self, cluster, group, topic, name, session_s, read="committed"):
        self.name, self.records, self.given, self.said, self.stopped, self.lost = name, [], set(), [], False, 0
        words = [str(cluster.tools.weft), "consume", topic, "--group", group, "--from", "earliest", "--read", read, "--show-rebalance", "--format", "%p %o\\n",
                 "--set", f"session.ms={session_s}s", "--set", f"client={name}"]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, "WEFT_BOOTSTRAP": cluster.bootstrap})
        cluster.processes.append(self.process)
        self.threads = [threading.Thread(target=self.hear, daemon=True), threading.Thread(target=self.hear_errors, daemon=True)]
        for thread in self.threads:
            thread.start()

    def hear(self):
        for line in self.process.stdout:
            if line.endswith("\n") and len(words := line.split()) == 2:  # the last one of a killed member may be cut off
                self.records.append((int(words[0]), int(words[1])))

    def hear_errors(self):
        for line in self.process.stderr:
            found = re.match(r"weft consume: (assigned|lost) \S+/(\d+)(?: at offset (\d+))?", line)
            if found and found[1] == "assigned":
                self.given.add((int(found[2]), int(found[3])))
            self.lost += bool(found and found[1] == "lost")
            self.said.append(line.rstrip())

    def running(self):
        return self.process.poll() is None

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)
        self.stopped = True

    def cont(self):
        if self.stopped and self.running():
            self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def kill(self):
        self.process.kill()
        self.joined()

    def leave(self):
        """Asks it to; joined() waits."""
        self.cont()
        if self.running():
            self.process.send_signal(signal.SIGINT)

    def joined(self, seconds=60):
        code = self.process.wait(seconds)
        for thread in self.threads:
            thread.join(10)
        return code

    def jumps(self):
        """Records that neither follow the one before nor stand where the group said it committed."""
        found, last = [], {}
        for partition, offset in list(self.records):
            if last.get(partition) != offset - 1 and (partition, offset) not in self.given:
                found.append((partition, offset))
            last[partition] = offset
        return found


class Offsets:
    """Asks the offsets' leader again and again what a group has committed: neither an offset nor a fence ever falls."""

    def __init__(self, run, cluster, group):
        self.run, self.cluster, self.group, self.newest, self.answers = run, cluster, group, {}, 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.over.wait(0.1):
            self.look()

    def look(self):
        """{partition: offset}, or None when nobody answered."""
        for node in self.cluster.brokers:
            reply = node.ask("committed", 0.5, group=self.group) if node.running() and not node.stopped else None
            if not reply or reply.get("error"):
                continue
            self.answers += 1
            found = {o["partition"]: (o["offset"], o["token"]) for o in reply.get("offsets") or []}
            for partition, (offset, token) in found.items():
                before = self.newest.get(partition, (-1, 0))
                if offset < before[0] or token < before[1]:
                    self.run.find("O8 committed offsets and fences never fall", f"group {self.group} partition {partition}: {before}, then {(offset, token)} at {node.name}")
                self.newest[partition] = max(offset, before[0]), max(token, before[1])
            for partition in self.newest.keys() - found.keys():
                self.run.find("O8 committed offsets and fences never fall", f"group {self.group} partition {partition}: {self.newest[partition]}, then nothing at {node.name}")
            return {partition: offset for partition, (offset, _) in found.items()}
        return None

    def close(self):
        self.over.set()
        self.thread.join(10)
        self.run.held("O8 committed offsets and fences never fall")
        self.run.need(self.answers > 5, "O8 committed offsets and fences never fall", f"only {self.answers} answers: this run proves nothing")


class Group:
    """A consumer group of a run: who is in it now, and who ever was."""

    def __init__(self, run, cluster, name, topic, session_s=3):
        self.run, self.cluster, self.name, self.topic, self.session_s, self.ever = run, cluster, name, topic, session_s, []
        self.offsets = Offsets(run, cluster, name)

    def join(self):
        self.ever.append(Member(self.cluster, self.name, self.topic, f"{self.name}-{len(self.ever)}", self.session_s))
        return self.ever[-1]

    def members(self):
        return [member for member in self.ever if member.running()]

    def records(self):
        return [record for member in self.ever for record in list(member.records)]

    def finish(self, acked, moves=True):
        """Faults are over: it reads on to the end and commits it; then what it read is judged. moves=False: nobody died, so nothing is read twice."""
        run = self.run
        try:
            nodes.wait_until(lambda: acked <= set(self.records()), "", 60, pace=0.1)
            ends = {}
            for partition, offset in self.records():
                ends[partition] = max(ends.get(partition, 0), offset + 1)
            nodes.wait_until(lambda: self.offsets.look() == ends, "", 30, pace=0.1)
        except AssertionError:
            run.note(f"{self.name} did not get to the end: committed {self.offsets.newest}, members said {[member.said[-2:] for member in self.members()]}")
        for member in self.members():
            member.leave()
        for member in self.ever:
            code = member.joined()
            run.need(code in (130, -signal.SIGKILL), "O9 members end as asked", f"{member.name} ended with {code}: {member.said[-3:]}")
        self.offsets.close()
        read = self.records()
        missing = acked - set(read)
        run.need(not missing, "O4 every acknowledged record is handed out", f"group {self.name}: {len(missing)} of {len(acked)} were not, as {sorted(missing)[:3]}")
        jumps = [(member.name, *jump) for member in self.ever for jump in member.jumps()]
        run.need(not jumps, "O4 members go on where the group committed", f"group {self.name}: {len(jumps)} records neither follow nor were given, as {jumps[:3]}")
        twice = len(read) - len(set(read))
        run.need(moves or twice == 0, "O8 a group whose members live is left alone", f"group {self.name}: {twice} records were read twice")
        run.figures.update({f"{self.name}_members": len(self.ever), f"{self.name}_read": len(read), f"{self.name}_twice": twice, f"{self.name}_lost": sum(member.lost for member in self.ever)})


def acked(directory):
    """(partition, offset) of every record that a producer was told of."""
    return {(partition, offset) for path in directory.glob("producer-*.history") for kind, _, partition, _, _, offset, _, _ in clients.events(path) if kind == clients.ACK}
