"""Calls in bundles: a relay on each node hands chunks to its workers, so that the driver makes one call per bundle.

Without relays, Ray's cost per call would take a tenth of the driver's time with some dozens of workers, and all of it
with a thousand. A relay makes no decisions; `Dispatch` does. If a relay dies, its workers are given up, as if their
node had died.
"""

import asyncio
import itertools
import time
from collections.abc import Collection, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distes.pools.assignment import Assignment
from distes.pools.chunks import Chunk
from distes.pools.on_ray.calls import Answer, Calls, CallStatus, ending, sift, what_became
from distes.pools.on_ray.deaths import Death

RELAY_WORKERS = 32  # number of workers from which relays pay off
EXCHANGE_SECONDS = 2.0  # seconds after which a relay answers the driver even without results
RELAY_TIMEOUT = 60.0  # seconds of silence after which a relay counts as dead, and its workers with it

Call = tuple[int, int, Any, Chunk, list[Any]]  # key, worker, population, chunk, messages
Word = tuple[int, CallStatus, Any]  # key, status, result or error or death


class _Relay:
    """Passes calls on to the workers of its node, and gathers their answers."""

    def __init__(self) -> None:
        self._workers: dict[int, asyncio.Future[Any]] = {}  # worker -> its handle, None once it is dropped
        self._flying: dict[int, Any] = {}  # key -> reference
        self._waiting = set[asyncio.Task[None]]()
        self._words: asyncio.Queue[Word] = asyncio.Queue()

    def _worker(self, worker: int) -> asyncio.Future[Any]:
        """Returns a future of the worker's handle, since Ray may run a call to an async actor before an earlier one."""
        return self._workers.setdefault(worker, asyncio.get_running_loop().create_future())

    async def adopt(self, worker: int, actor: Any) -> None:
        if not self._worker(worker).done():
            self._worker(worker).set_result(actor)

    async def drop(self, worker: int) -> None:
        await self.adopt(worker, None)  # for calls that still wait for its handle
        self._workers[worker] = asyncio.get_running_loop().create_future()
        self._workers[worker].set_result(None)

    async def tell(self, messages: Sequence[Any]) -> None:
        for known in self._workers.values():
            if known.done() and known.result() is not None:
                known.result().follow.remote(*messages)

    async def cancel(self, keys: Sequence[int]) -> None:
        for key in keys:
            if key in self._flying:
                ray.cancel(self._flying[key])

    async def hand(self, calls: Sequence[Call]) -> None:
        for call in calls:
            task = asyncio.ensure_future(self._call(*call))
            self._waiting.add(task)  # asyncio itself keeps only a weak reference
            task.add_done_callback(self._waiting.discard)

    async def exchange(self, calls: Sequence[Call]) -> list[Word]:
        """Sends calls, waits up to `EXCHANGE_SECONDS` for an answer, and returns all answers that have arrived."""
        await self.hand(calls)
        try:
            words = [await asyncio.wait_for(self._words.get(), EXCHANGE_SECONDS)]
        except TimeoutError:
            return []
        while not self._words.empty():
            words.append(self._words.get_nowait())
        return words

    async def _call(self, key: int, worker: int, population: Any, chunk: Chunk, messages: Sequence[Any]) -> None:
        word: Word = key, CallStatus.LOST, Death("it was given up", outside=True)
        actor = await self._worker(worker)
        if actor is not None:
            self._flying[key] = actor.evaluate_sent.remote(chunk, [population, *messages])
            try:
                word = key, CallStatus.DONE, await self._flying[key]
            except RayError as error:
                word = key, *what_became(error)
            del self._flying[key]
        self._words.put_nowait(word)


class _Node:
    """A relay as the driver sees it."""

    def __init__(self, identity: str) -> None:
        strategy = NodeAffinitySchedulingStrategy(identity, soft=False)
        relay: Any = ray.remote(num_cpus=0, max_restarts=0)(_Relay)
        self.relay = relay.options(max_concurrency=1000, scheduling_strategy=strategy).remote()
        self.workers = set[int]()
        self.exchange: Any = None  # reference to its next answer
        self.since = 0.0  # time at which that was requested


class RelayedCalls(Calls):
    """Sends calls through one relay per node with workers."""

    def __init__(self) -> None:
        """Starts without relays; the first worker of a node starts one."""
        self._nodes: dict[str, _Node] = {}
        self._at: dict[int, _Node] = {}  # worker -> its node
        self._flying: dict[int, Assignment] = {}
        self._keys = itertools.count()

    def joined(self, worker: int, actor: Any, node: str) -> None:
        """Adds a worker that is ready, and passes its handle to the relay of its node."""
        if node not in self._nodes:
            self._nodes[node] = _Node(node)
        self._at[worker] = self._nodes[node]
        self._at[worker].workers.add(worker)
        self._at[worker].relay.adopt.remote(worker, actor)

    def send(self, calls: Sequence[tuple[Assignment, Any, Sequence[Any]]]) -> None:
        """Sends one bundle of chunks per node."""
        bundles: dict[_Node, list[Call]] = {}
        for assignment, shared, messages in calls:
            key = next(self._keys)
            self._flying[key] = assignment
            # references in lists: Ray would resolve bare ones before the call
            bundles.setdefault(self._at[assignment.worker], []).append(
                (key, assignment.worker, shared, assignment.chunk, list(messages))
            )
        for node, bundle in bundles.items():
            if node.exchange is None:
                self._ask(node, bundle)
            else:
                node.relay.hand.remote(bundle)

    def tell(self, messages: Any) -> None:
        """Sends the reference to the relay of each node, which passes it on to its workers."""
        for node in self._nodes.values():
            node.relay.tell.remote([messages])

    def cancel(self, assignments: Collection[Assignment]) -> None:
        """Cancels calls, with one message per node concerned."""
        keys: dict[_Node, list[int]] = {}
        for key, assignment in self._flying.items():
            if assignment in assignments:
                keys.setdefault(self._at[assignment.worker], []).append(key)
        for node, its in keys.items():
            node.relay.cancel.remote(its)

    def in_flight(self) -> list[Assignment]:
        """Returns the assignments that are not answered yet, in the order in which they were sent."""
        return list(self._flying.values())

    def pending(self) -> list[Any]:
        """Returns one reference per node from which an answer is expected."""
        return [node.exchange for node in self._nodes.values() if node.exchange is not None]

    def collect(self, ready: Sequence[Any]) -> tuple[list[Answer], dict[int, Death]]:
        """Returns the answers of relays; if a relay is dead or silent, all its workers count as dead."""
        answers, lost = list[Answer](), dict[int, Death]()
        for identity, node in list(self._nodes.items()):
            if node.exchange is None:
                continue
            if node.exchange in ready:
                try:
                    words: list[Word] = ray.get(node.exchange)
                except RayError as error:
                    gone = Death(f"its relay died: {Death.of(error).cause}", outside=True)
                    lost |= dict.fromkeys(self._nodes.pop(identity).workers, gone)
                    continue
                node.exchange = None
                answers += [self._unpacked(*word) for word in words if word[0] in self._flying]
            elif time.monotonic() - node.since > RELAY_TIMEOUT:
                ray.kill(node.relay)
                gone = Death(f"its relay has said nothing for {RELAY_TIMEOUT:.0f} seconds", outside=True)
                lost |= dict.fromkeys(self._nodes.pop(identity).workers, gone)
                continue
            if node.exchange is None and any(
                self._at.get(assignment.worker) is node for assignment in self._flying.values()
            ):
                self._ask(node, [])
        answers, dead = sift(answers)
        return answers, lost | dead

    def drop(self, worker: int) -> None:
        """Removes a worker here and in its relay; its calls will not be answered."""
        node = self._at.pop(worker, None)
        if node is not None:
            node.workers.discard(worker)
            node.relay.drop.remote(worker)
        self._flying = {key: assignment for key, assignment in self._flying.items() if assignment.worker != worker}

    def _ask(self, node: _Node, bundle: list[Call]) -> None:
        node.exchange, node.since = node.relay.exchange.remote(bundle), time.monotonic()

    def _unpacked(self, key: int, status: CallStatus, content: Any) -> Answer:
        return ending(self._flying.pop(key), status, content)
