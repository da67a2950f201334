# SPDX-License-Identifier: MPL-2.0
"""The TCP proxy (proxy.c has its commands), as an object: link() gives a port to advertise instead of the node's own."""

import subprocess


class Proxy:
    def __init__(self, program):
        self.process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        assert answer and answer[0] == "ok", f"proxy: {words}: {answer}"
        return answer[1:]

    def link(self, name, target, port=0):
        """target: tcp://host:port of the node. Returns the endpoint of the proxy."""
        return "tcp://127.0.0.1:" + self.tell("link", name, port, target.removeprefix("tcp://"))[0]

    def delay(self, name, ms, jitter=0, ways="both"):
        self.tell("delay", name, ways, ms, jitter)

    def rate(self, name, nbytes, ways="both"):
        self.tell("rate", name, ways, nbytes)

    def cut(self, name, ways="both"):
        self.tell("cut", name, ways)

    def half(self, name):
        self.tell("half", name)

    def reset(self, name):
        self.tell("reset", name)

    def heal(self, name):
        self.tell("heal", name)

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()
