"""Load for the live tests with python mcp; the same options and the same answer as the program in ../mcp/client.

Only -stream has no effect: these clients always hold a stream for messages of the server. A user keeps one Client until it is of no use any more, and then makes a new one, as a careful program does.
"""

import argparse
import asyncio
import collections
import ipaddress
import json
import re
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

BIN = 0.1
VARIABLE = re.compile(r"\d+\.\d+\.\d+\.\d+(:\d+)?|[0-9A-Z]{26}|[0-9a-f]{8}-[0-9a-f-]{27}")
# ToolHive's answer to a session that it does not know. A call that times out has the same code.
SESSION_NOT_FOUND = (-32001, "Session not found")

parser = argparse.ArgumentParser()
parser.add_argument("-url", required=True)
parser.add_argument("-sessions", type=int, default=20)
parser.add_argument("-interval", type=float, default=0.25)
parser.add_argument("-timeout", type=float, default=15)
parser.add_argument("-source", default="")
parser.add_argument("-ready", default="")
parser.add_argument("-whole", choices=["true", "false"], default="false")
arguments, _ = parser.parse_known_args()
stop = asyncio.Event()


class Report:
    """What all sessions go through, from the moment when each of them has had an answer."""

    def __init__(self):
        self.begun = None
        if arguments.whole == "true":
            self.begin()
        self.waiting = arguments.sessions
        self.count = collections.Counter()
        self.errors = collections.Counter()
        self.bins = {"goodBins": [], "failedBins": []}
        self.longest_gap = 0.0

    def begin(self):
        self.begun, self.begun_at = time.monotonic(), datetime.now(UTC)

    def answered_first(self):
        self.waiting -= 1
        if self.waiting == 0:
            if self.begun is None:
                self.begin()
            if arguments.ready:
                Path(arguments.ready).touch()

    def add(self, what):
        if self.begun is not None:
            self.count[what] += 1

    def call(self, name, begun):
        if self.begun is None:
            return
        self.count[name] += 1
        bins = self.bins[f"{name}Bins"]
        index = max(0, int((begun - self.begun) / BIN))
        bins.extend([0] * (index + 1 - len(bins)))
        bins[index] += 1

    def failed(self, begun, error):
        self.call("failed", begun)
        if self.begun is not None:
            self.errors[VARIABLE.sub("…", f"{type(error).__name__}: {error}")[:200]] += 1

    def waited(self, since, until):
        if self.begun is not None:
            self.longest_gap = max(self.longest_gap, until - max(since, self.begun))

    def summary(self):
        numbers = {name: self.count[name] for name in ("good", "failed", "lost", "ended", "stateGone")}
        begun = self.begun_at.isoformat() if self.begun is not None else None
        return {"begun": begun, **numbers, "longestGap": self.longest_gap, "errors": dict(self.errors.most_common(12)), **self.bins}


report = Report()


class User:
    def __init__(self, index):
        self.index = index
        # Of this user: each is counted once, and not how often it happens.
        self.happened = set()
        self.is_first = True
        self.answered = time.monotonic()

    def once(self, what):
        if what not in self.happened:
            self.happened.add(what)
            report.add(what)

    async def run(self):
        await asyncio.sleep(arguments.interval * self.index / arguments.sessions)
        self.next = time.monotonic()
        while not stop.is_set():
            self.begun = time.monotonic()
            try:
                await self.use_client()
            except BaseException as error:  # a connection that is refused cancels the block, or ends with a group of exceptions
                if stop.is_set():
                    break
                report.failed(self.begun, error)
                self.once("ended")
                await self.tick()
        report.waited(self.answered, time.monotonic())

    async def tick(self):
        self.next = max(self.next + arguments.interval, time.monotonic())
        await asyncio.sleep(max(0, self.next - time.monotonic()))

    async def use_client(self):
        """Calls the tool with one Client until its session is lost, or until the end."""
        local = str(ipaddress.ip_address(arguments.source) + self.index) if arguments.source else None
        connections = httpx2.AsyncHTTPTransport(local_address=local)
        async with httpx2.AsyncClient(transport=connections, timeout=arguments.timeout, follow_redirects=True) as http:
            # "legacy": the last version of the protocol that has sessions.
            async with Client(streamable_http_client(arguments.url, http_client=http), mode="legacy") as client:
                counted = 0
                while not stop.is_set():
                    self.begun = time.monotonic()
                    try:
                        result = await client.call_tool("count", {}, read_timeout_seconds=arguments.timeout)
                        count = result.structured_content["count"]
                    except MCPError as error:
                        report.failed(self.begun, error)
                        if (error.error.code, error.error.message) == SESSION_NOT_FOUND:
                            self.once("lost")
                            break
                    else:
                        self.succeeded(count, counted)
                        counted = count
                    await self.tick()
        await self.tick()

    def succeeded(self, count, counted):
        now = time.monotonic()
        if self.is_first:
            self.is_first = False
            report.answered_first()
        report.call("good", self.begun)
        report.waited(self.answered, now)
        self.answered = now
        if count <= counted:
            self.once("stateGone")


async def main():
    loop = asyncio.get_running_loop()
    users = [asyncio.create_task(User(index).run()) for index in range(arguments.sessions)]
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await stop.wait()
    await asyncio.wait(users, timeout=arguments.timeout)
    print(json.dumps(report.summary()), flush=True)
    # What a client leaves behind does not hold the answer up.
    for user in users:
        user.cancel()


asyncio.run(main())
