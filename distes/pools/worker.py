"""The worker, which evaluates one chunk at a time. It does not depend on Ray: a pool makes it an actor or calls it."""

import contextlib
import copy
import socket
import time
from collections.abc import Callable

import numpy as np

from distes.errors import EvaluationError, is_ctrl_c, users_code
from distes.errors.cuda import failure, out_of_memory, release, requested_bytes
from distes.members.gaussian import GaussianRows
from distes.members.genomes import Decoder, GenomeRows
from distes.members.initialization import Initialization
from distes.members.members import Members, Rows
from distes.members.mutations import MUTATIONS
from distes.members.vectors import VectorRows
from distes.noise.global_randomness import seeded
from distes.noise.one_thread import one_thread
from distes.pools.chunks import Chunk, ChunkResult, ChunkRows
from distes.pools.device import DeviceCopy, WorkerPlace, configure_torch, place_of
from distes.pools.experiment import Experiment
from distes.pools.gpu_memory import GpuMemory
from distes.pools.member_errors import chunk_named, does_not_fit, gpu_failed, member_failed, process_ended
from distes.pools.replica import PopulationOutline, Replica, StateMessage, TellMessage
from distes.pools.search_distribution import SearchDistribution
from distes.population import Floats, Genomes, Population, Purpose
from distes.tasks.base import MemberError, Request
from distes.tasks.checks import checked, finite
from distes.tasks.request import never


class Worker:
    """Holds a task, a policy and the noise; evaluates chunks of any generation.

    It computes with a single torch thread: workers share the cores, and the bits of a product must not depend on the
    number of threads.
    """

    def __init__(self, experiment: Experiment) -> None:
        """Sets up the device, and checks the noise table against the driver's.

        Args:
            experiment: What the worker is made of.

        Raises:
            EvaluationError: The noise table differs from the driver's, the GPU is missing, or the table does not fit
                on it.
        """
        got = experiment.noise.fingerprint
        if got != experiment.fingerprint:
            raise EvaluationError(
                f"The worker on {socket.gethostname()} is refused: its noise table has the fingerprint {got}, the "
                f"driver's has {experiment.fingerprint}. Use the same version of NumPy and the same kind of processor."
            )
        self._task, self._perturbation = experiment.task, experiment.perturbation
        self._sensitivity = experiment.sensitivity
        self._device = configure_torch(experiment.device)
        self.place: WorkerPlace = place_of(self._device)
        self._memory = GpuMemory(self._device)
        self._members: Members | None = None  # those of the last chunk
        self._forward = experiment.forward
        self._centre: DeviceCopy | None = None  # None on a CPU, where the centre is used as received
        self._decoders: dict[tuple[str, str, float], Decoder] = {}  # hold the vectors of genomes; see `_decoder`
        self._replica = None if experiment.strategy is None else Replica(experiment.strategy, experiment.perturbation)
        self.stop: Callable[[], bool] = never  # called by tasks between steps
        if self._device.type == "cuda":
            self._settle_on_gpu(experiment)

    def close(self) -> None:
        """Releases what the task holds, such as environments; a later evaluation makes them again."""
        self._task.close()

    @one_thread()
    def follow(self, *messages: TellMessage | StateMessage) -> None:
        """Takes the driver's steps in the copy of the strategy; errors are reported with the next chunk."""
        if self._replica is not None:
            self._replica.follow(messages)

    @one_thread()
    def evaluate(
        self,
        population: Population | PopulationOutline,
        chunk: Chunk,
        *messages: TellMessage | StateMessage | SearchDistribution | ChunkRows,
    ) -> ChunkResult:
        """Evaluates pairs (both members of each, + first) or episodes of the centre.

        Args:
            population: The generation, or its outline for a worker with a copy of the strategy.
            chunk: The part of the generation to evaluate.
            messages: Messages that a worker with a copy may not have received yet; for others, the search
                distribution if the population comes without it. Also the rows of the chunk's members, where they are
                arbitrary vectors and the population comes without them.

        Raises:
            OutOfStep: The copy of the strategy does not match the outline.
            EvaluationError: A member cannot be evaluated; the message names it and says how to replay it alone. Or the
                chunk does not fit into memory; the message says how many members would.
        """
        if isinstance(population, PopulationOutline):
            with users_code("A worker could not take the strategy's step along with the driver"):
                self.follow(*(item for item in messages if isinstance(item, TellMessage | StateMessage)))
                population = self._completed(population)
        rows_BP: Floats | None = None
        for item in messages:
            if isinstance(item, SearchDistribution):
                population = item.put_into(population)
            elif isinstance(item, ChunkRows):
                rows_BP = item.rows_BP
        count = chunk.evaluations
        self._memory.begin()
        try:
            with users_code(f"{chunk_named(population, chunk)} could not be evaluated"):
                result = self._evaluate(population, chunk, rows_BP)
        except Exception as error:
            if reason := failure(error):
                raise EvaluationError(gpu_failed(chunk, self.place, reason)) from error
            if not out_of_memory(error):
                raise
            failed_bytes = requested_bytes(error)
            release(error)
            self._forward.free()
            if self._members is not None:
                self._members.free()  # a task may hold them until it gets the next ones
        except BaseException as error:
            # For example SystemExit, with which an environment would end this process and the run.
            if isinstance(error, KeyboardInterrupt) and is_ctrl_c():
                raise
            raise EvaluationError(process_ended(population, chunk, error)) from None
        else:
            self._memory.end(count)
            return result
        self._memory.end(count, failed_bytes)
        fit = self._memory.members_that_fit(count)
        raise EvaluationError(does_not_fit(chunk, self.place, fit, on_gpu=self._device.type == "cuda"))

    def _evaluate(self, population: Population, chunk: Chunk, rows_BP: Floats | None) -> ChunkResult:
        started = time.perf_counter()
        centre_P = population.centre_P if self._centre is None else self._centre.of(population.centre_P)
        rows = self._rows(population, chunk, rows_BP)
        self._members = members = Members(self._forward, self._perturbation, centre_P, rows, self._device)
        request = self._request(population, chunk)
        try:
            with seeded(int(request.seeds_B[0])) if self._forward.draws else contextlib.nullcontext():
                outcome = checked(self._task, self._task.evaluate(members, request), len(members))
            outcome = finite(outcome, refuses=request.refuses_non_finite)
        except MemberError as error:
            raise EvaluationError(member_failed(population, chunk, error)) from error
        count = chunk.stop - chunk.start
        shape = (count,) if chunk.of_centre else (count, len(population.signs))
        behaviour_BD, scalars_BV = outcome.behaviour_BD, outcome.scalars_BV
        return ChunkResult(
            index=chunk.index,
            fitness=outcome.fitness_B.reshape(shape),
            steps=outcome.steps_B.reshape(shape),
            episodes=outcome.episodes,
            moments=outcome.moments,
            seconds=time.perf_counter() - started,
            behaviour=None if behaviour_BD is None else behaviour_BD.reshape(*shape, -1),
            retried=outcome.retried,
            capped=outcome.capped,
            stepped=outcome.stepped,
            returns=None if outcome.return_B is None else outcome.return_B.reshape(shape),
            reward_moments=outcome.reward_moments,
            scalars=None if scalars_BV is None else scalars_BV.reshape(*shape, -1),
            missing=dict(outcome.missing),
        )

    def _request(self, population: Population, chunk: Chunk) -> Request:
        """How the task is to evaluate a chunk's members."""
        span, each = slice(chunk.start, chunk.stop), len(population.signs)
        observed_B = pairs_B = None
        if chunk.of_centre:
            seeds_B = population.eval_seeds_E[span]
        else:
            seeds_B = population.seeds_N[span].repeat(each)
            pairs_B = (population.first_pair + np.arange(chunk.start, chunk.stop)).repeat(each)
            if population.observed_N is not None and population.observed_N[span].any():
                observed_B = population.observed_N[span].repeat(each)
        return Request(
            seeds_B,
            training=not chunk.of_centre,
            normalization=population.normalization,
            observed_B=observed_B,
            refuses_non_finite=population.refuses_non_finite,
            stop=self.stop,
            max_steps=None if chunk.of_centre else population.max_steps,
            reward_sign=population.reward_sign,
            reward_scale=population.reward_scale,
            purpose=population.purpose(chunk.start) if chunk.of_centre else Purpose.TRAIN,
            common_seed=population.common_seed or 0,
            pairs_B=pairs_B,
        )

    def _rows(self, population: Population, chunk: Chunk, rows_BP: Floats | None) -> Rows:
        """The rows of a chunk's members: one per pair and sign, or the centre once per episode."""
        span, count = slice(chunk.start, chunk.stop), chunk.stop - chunk.start
        if rows_BP is None and population.rows_NP is not None:
            rows_BP = population.rows_NP[span]
        if rows_BP is not None and not chunk.of_centre:
            return VectorRows(self._perturbation, rows_BP)
        if chunk.of_centre:
            ids_B, signs_B = np.zeros(count, np.int64), np.zeros(count, np.int64)
            each, which = 1, population.eval_genome_E
        else:
            each = len(population.signs)
            ids_B, signs_B = population.ids_N[span].repeat(each), np.tile(population.signs, count)
            which = population.genome_N
        if population.genomes is None:
            return GaussianRows(self._perturbation, population.sigma, ids_B, signs_B, population.transform)
        assert which is not None
        alive = population.genomes.tuples
        decoder = self._decoder(population.genomes, float(population.sigma))
        decoder.expect(alive)
        return GenomeRows(decoder, alive, which[span].repeat(each), ids_B, signs_B != 0)

    def _decoder(self, genomes: Genomes, sigma: float) -> Decoder:
        """The decoder of genomes, which keeps their vectors from chunk to chunk."""
        key = genomes.initialization, genomes.mutation, sigma
        if key not in self._decoders:
            initial_P = self._forward.layout.flatten(self._forward.module)
            first = Initialization(genomes.initialization, self._perturbation, initial_P, self._device)
            mutation = MUTATIONS[genomes.mutation](self._perturbation, sigma, self._sensitivity)
            self._decoders = {key: Decoder(first, mutation, self._device)}  # keeps one decoder at a time
        return self._decoders[key]

    def _completed(self, outline: PopulationOutline) -> Population:
        if self._replica is None:
            raise TypeError("An outline says nothing to a worker without a copy of the strategy.")
        return self._replica.complete(outline)

    def _settle_on_gpu(self, experiment: Experiment) -> None:
        """Moves what stays on the GPU to it: the policy's buffers and the noise. The centre follows in each generation.

        Raises:
            EvaluationError: The GPU's memory is too small.
        """
        try:
            self._forward = copy.deepcopy(experiment.forward).to(self._device)  # the driver's may stay on its device
            experiment.noise.tensor(self._device)
            self._centre = DeviceCopy(self._device)
        except Exception as error:
            if not out_of_memory(error):
                raise
            megabytes = experiment.noise.size * experiment.noise.dtype.itemsize / 1e6
            raise EvaluationError(
                f"A noise table of {megabytes:,.0f} MB does not fit on the GPU of the worker on {self.place.node} "
                f"({self.place}): choose a smaller --noise.size, --noise.dtype float16, or fewer --workers per GPU."
            ) from error
