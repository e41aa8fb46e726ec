"""The obvious, slow twin of every formula: plain loops in float64, written from the papers and not from our code.

centred_ranks          Salimans et al. 2017, arXiv:1703.03864, section 2.1 (ties: the mean of the ranks they cover)
gradient               the same, algorithm 2, with the released code's scaling: over 2N, not over sigma
population_rank        EvalPopRank of the released code of Salimans et al. 2017
log_ranks              Wierstra et al. 2014, JMLR 15, section 3.1 (ties: the mean of what their ranks get)
snes                   the same, algorithm 6
sep_cma_es             Hansen, arXiv:1604.00772, equations 42 to 47 and table 1, with C diagonal and its learning rates
                       (n + 2) / 3 times as large (Ros and Hansen 2008, doi:10.1007/978-3-540-87700-4_30)
lm_ma_es               Loshchilov et al. 2017, arXiv:1705.06693, algorithm 1, line by line
guided_covariance      Maheswaranathan et al. 2019, arXiv:1806.10230, section 3.1, with sigma = 1
ars                    Mania et al. 2018, arXiv:1803.07055, algorithm 2, lines 6 and 7, without the step size
pgpe                   EvoTorch 0.6's symmetric separable Gaussian, after Sehnke et al. 2010, Neural Networks 23(4)
decay                  the gradient of l2 / 2 |theta - origin|^2; towards the start: arXiv:2605.30148
adam, momentum         Kingma and Ba 2015, algorithm 1; Sutskever et al. 2013 without the factor on the gradient
clip_up                Toklu et al. 2020, arXiv:2008.02387, algorithm 2
genetic_algorithm      Such et al. 2017, arXiv:1712.06567, algorithm 1, with the elite known one generation late
episode_seed           SplitMix64's finaliser, Steele et al. 2014, doi:10.1145/2714064.2660195
tensor_offsets         ours: SplitMix64 of the direction's number, per group of neighbouring tensors
low_rank               EGGROLL, arXiv:2511.16652, section 4: E = A B^T / sqrt(r), columns a_1 ... a_r and b_1 ... b_r
virtual_batch_norm     Salimans et al. 2016, arXiv:1606.03498, section 3.4, with the statistics of the reference batch
                       alone, and a scale and a shift, as in Uber's ESAtariPolicy
sensitivities          Lehman et al. 2018, arXiv:1712.06563, section 3.2, with means over observations for both
novelty_search         Conti et al. 2018, arXiv:1712.06560, algorithms 1 to 3, in the order of events that we state
fitness_weights        the same, algorithm 3, with the constants that it leaves open
novelty                Lehman and Stanley 2011, "Abandoning Objectives", equation 1
weighted_sum, mean_and_variance, lifetimes, info_number    their definitions
answer                 decoding of a language model: a row at a time, the whole row anew for each token
kullback_leibler       its definition
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

Vector = list[float]


def centred_ranks(fitness: Sequence[float]) -> Vector:
    ranks = []
    for mine in fitness:
        below = sum(1 for other in fitness if other < mine)
        equal = sum(1 for other in fitness if other == mine) - 1  # besides itself
        ranks.append((below + equal / 2) / (len(fitness) - 1) - 0.5)
    return ranks


def population_rank(fitness: Sequence[float], centre: Sequence[float]) -> float:
    shares = [sum(one < episode for one in fitness) / len(fitness) for episode in centre]
    return sum(shares) / len(shares)


def weighted_sum(weights: Sequence[float], directions: Sequence[Sequence[float]]) -> Vector:
    total = [0.0] * len(directions[0])
    for weight, direction in zip(weights, directions, strict=True):
        for place, number in enumerate(direction):
            total[place] += float(weight) * float(number)
    return total


def low_rank(a_columns: Sequence[Sequence[float]], b_columns: Sequence[Sequence[float]]) -> list[Vector]:
    """The matrix E, by rows."""
    rank = len(a_columns)
    matrix = [[0.0] * len(b_columns[0]) for _ in a_columns[0]]
    for a, b in zip(a_columns, b_columns, strict=True):
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                matrix[i][j] += float(x) * float(y) / math.sqrt(rank)
    return matrix


def gradient(utility: Sequence[tuple[float, float]], directions: Sequence[Sequence[float]]) -> Vector:
    """1 / 2N times the sum over pairs of (utility of +, less utility of -) times the direction."""
    differences = [plus - minus for plus, minus in utility]
    return [number / (2 * len(utility)) for number in weighted_sum(differences, directions)]


def weighted_bits(
    weights: Sequence[float], directions: Sequence[Sequence[float]], thresholds: Sequence[float]
) -> Vector:
    """The sum of the weights of those directions that exceed the threshold, for each coordinate."""
    total = [0.0] * len(thresholds)
    for weight, direction in zip(weights, directions, strict=True):
        for j, (number, threshold) in enumerate(zip(direction, thresholds, strict=True)):
            if number > threshold:
                total[j] += weight
    return total


def normal_probability(score: float) -> float:
    """Phi, the standard normal distribution function."""
    return 0.5 * math.erfc(-score / math.sqrt(2))


def bernoulli_gradient(
    utility: Sequence[tuple[float, float]], directions: Sequence[Sequence[float]], scores: Sequence[float]
) -> Vector:
    """The mean over members of utility * d log P(mask) / d score, with P(bit = 1) = Phi(score)."""
    gradient = [0.0] * len(scores)
    for (positive, negative), direction in zip(utility, directions, strict=True):
        for j, (score, number) in enumerate(zip(scores, direction, strict=True)):
            density = math.exp(-0.5 * score * score) / math.sqrt(2 * math.pi)
            probability = normal_probability(score)
            for value, noise in ((positive, number), (negative, -number)):
                slope = density / probability if score + noise > 0 else -density / (1 - probability)
                gradient[j] += value * slope / (2 * len(utility))
    return gradient


def ars(fitness: Sequence[tuple[float, float]], directions: Sequence[Sequence[float]], b: int) -> Vector:
    """What the step size multiplies: the sum over the b best directions, over b times their returns' deviation."""
    order = sorted(range(len(fitness)), key=lambda k: max(fitness[k]), reverse=True)  # keeps the order of equals
    best = order[:b]
    returns = [r for k in best for r in fitness[k]]
    mean = sum(returns) / len(returns)
    deviation = math.sqrt(sum((r - mean) ** 2 for r in returns) / len(returns))
    if deviation == 0:
        return [0.0] * len(directions[0])
    differences = [fitness[k][0] - fitness[k][1] for k in best]
    return [number / (b * deviation) for number in weighted_sum(differences, [directions[k] for k in best])]


def novelty(behaviour: Sequence[float], known: Sequence[Sequence[float]], k: int) -> float:
    """The mean distance to the k nearest of those that are known, or to all where there are fewer."""
    distances = []
    for other in known:
        squares = [(float(x) - float(y)) ** 2 for x, y in zip(behaviour, other, strict=True)]
        distances.append(math.sqrt(math.fsum(squares)))
    nearest = sorted(distances)[:k]
    return math.fsum(nearest) / len(nearest) if nearest else 0.0


def log_ranks(fitness: Sequence[float]) -> Vector:
    n = len(fitness)
    by_rank = [max(0.0, math.log(n / 2 + 1) - math.log(k)) for k in range(1, n + 1)]
    utilities = []
    for mine in fitness:
        above = sum(1 for other in fitness if other > mine)
        equal = sum(1 for other in fitness if other == mine)
        utilities.append(sum(by_rank[above : above + equal]) / equal / sum(by_rank) - 1 / n)
    return utilities


def snes(
    centre: Vector,
    sigma: Vector,
    fitness: Sequence[float],
    s: Sequence[Sequence[float]],
    eta_mu: float,
    eta_sigma: float,
) -> tuple[Vector, Vector]:
    """The next centre and standard deviations; s are the members' steps over sigma, with their signs."""
    u = log_ranks(fitness)
    after, sigma_after = [], []
    for i in range(len(centre)):
        gradient = sum(u_k * s_k[i] for u_k, s_k in zip(u, s, strict=True))
        sigma_gradient = sum(u_k * (s_k[i] ** 2 - 1) for u_k, s_k in zip(u, s, strict=True))
        after.append(centre[i] + eta_mu * sigma[i] * gradient)
        sigma_after.append(sigma[i] * math.exp(eta_sigma / 2 * sigma_gradient))
    return after, sigma_after


def parents(fitness: Sequence[float]) -> tuple[list[int], Vector, float]:
    """The best half, the best first; their weights; and the variance effective selection mass."""
    order = sorted(range(len(fitness)), key=lambda k: fitness[k], reverse=True)  # keeps the order of equals
    weights = [math.log((len(fitness) + 1) / 2) - math.log(i) for i in range(1, len(fitness) // 2 + 1)]
    weights = [w / sum(weights) for w in weights]
    return order[: len(weights)], weights, 1 / sum(w * w for w in weights)


class SepCMAES:
    """Members are centre[i] + sigma * sqrt(c[i]) * z[i]."""

    def __init__(self, centre: Sequence[float], sigma: float) -> None:
        self.centre, self.sigma, self.generation = list(centre), sigma, 0
        self.c = [1.0] * len(self.centre)
        self.p_sigma, self.p_c = [0.0] * len(self.centre), [0.0] * len(self.centre)

    def members(self, z: Sequence[Sequence[float]]) -> list[Vector]:
        return [
            [m + self.sigma * math.sqrt(c) * e for m, c, e in zip(self.centre, self.c, one, strict=True)] for one in z
        ]

    def tell(self, fitness: Sequence[float], z: Sequence[Sequence[float]]) -> None:
        n = len(self.centre)
        best, weights, mu_eff = parents(fitness)
        c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        d_sigma = 1 + 2 * max(0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma
        c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)
        c_1 = (n + 2) / 3 * 2 / ((n + 1.3) ** 2 + mu_eff)
        c_mu = min(1 - c_1, (n + 2) / 3 * 2 * (mu_eff - 2 + 1 / mu_eff) / ((n + 2) ** 2 + mu_eff))
        usual = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
        self.generation += 1
        y_w, z_w = [0.0] * n, [0.0] * n
        for i in range(n):
            z_w[i] = sum(w * z[k][i] for w, k in zip(weights, best, strict=True))
            y_w[i] = math.sqrt(self.c[i]) * z_w[i]
            self.p_sigma[i] = (1 - c_sigma) * self.p_sigma[i] + math.sqrt(c_sigma * (2 - c_sigma) * mu_eff) * z_w[i]
        length = math.sqrt(sum(p * p for p in self.p_sigma))
        short = length / math.sqrt(1 - (1 - c_sigma) ** (2 * self.generation)) < (1.4 + 2 / (n + 1)) * usual
        for i in range(n):
            self.centre[i] += self.sigma * y_w[i]
            self.p_c[i] = (1 - c_c) * self.p_c[i] + (math.sqrt(c_c * (2 - c_c) * mu_eff) * y_w[i] if short else 0)
            rank_mu = sum(w * self.c[i] * z[k][i] ** 2 for w, k in zip(weights, best, strict=True))
            lost = 0 if short else c_c * (2 - c_c)
            self.c[i] = (1 + c_1 * lost - c_1 - c_mu) * self.c[i] + c_1 * self.p_c[i] ** 2 + c_mu * rank_mu
        self.sigma *= math.exp(c_sigma / d_sigma * (length / usual - 1))


class LMMAES:
    """Members are y + sigma * d, where d is z after up to m products with matrices that are never formed."""

    def __init__(self, centre: Sequence[float], sigma: float, m: int, members: int) -> None:
        n = len(centre)
        self.y, self.sigma, self.t, self.p_sigma = list(centre), sigma, 0, [0.0] * n
        self.m = [[0.0] * n for _ in range(m)]
        self.c_sigma = 2 * members / n
        self.c_d = [1 / (1.5 ** (i - 1) * n) for i in range(1, m + 1)]
        self.c_c = [members / (4 ** (i - 1) * n) for i in range(1, m + 1)]

    def mapped(self, z: Sequence[float]) -> Vector:
        d = [float(x) for x in z]
        for j in range(min(self.t, len(self.m))):
            inner = sum(a * b for a, b in zip(self.m[j], d, strict=True))
            d = [(1 - self.c_d[j]) * x + self.c_d[j] * a * inner for x, a in zip(d, self.m[j], strict=True)]
        return d

    def members(self, z: Sequence[Sequence[float]]) -> list[Vector]:
        return [[y + self.sigma * d for y, d in zip(self.y, self.mapped(one), strict=True)] for one in z]

    def tell(self, fitness: Sequence[float], z: Sequence[Sequence[float]]) -> None:
        n = len(self.y)
        best, weights, mu_w = parents(fitness)
        d = [self.mapped(z[k]) for k in best]
        for i in range(n):
            z_w = sum(w * z[k][i] for w, k in zip(weights, best, strict=True))
            self.y[i] += self.sigma * sum(w * d_k[i] for w, d_k in zip(weights, d, strict=True))
            c = self.c_sigma
            self.p_sigma[i] = (1 - c) * self.p_sigma[i] + math.sqrt(mu_w * c * (2 - c)) * z_w
            for m, c in zip(self.m, self.c_c, strict=True):
                m[i] = (1 - c) * m[i] + math.sqrt(mu_w * c * (2 - c)) * z_w
        self.sigma *= math.exp(self.c_sigma / 2 * (sum(p * p for p in self.p_sigma) / n - 1))
        self.t += 1


def guided_covariance(estimates: Sequence[Sequence[float]], alpha: float) -> list[Vector]:
    """alpha / n I + (1 - alpha) / k U U^T, where U is an orthonormal basis of the k estimates."""
    n, k = len(estimates[0]), len(estimates)
    basis: list[Vector] = []
    for estimate in estimates:
        rest = list(estimate)
        for u in basis:
            inner = sum(a * b for a, b in zip(rest, u, strict=True))
            rest = [a - inner * b for a, b in zip(rest, u, strict=True)]
        length = math.sqrt(sum(a * a for a in rest))
        basis.append([a / length for a in rest])
    return [
        [alpha / n * (i == j) + (1 - alpha) / k * sum(u[i] * u[j] for u in basis) for j in range(n)] for i in range(n)
    ]


def pgpe(
    utility: Sequence[tuple[float, float]], directions: Sequence[Sequence[float]], sigma: Sequence[float]
) -> tuple[Vector, Vector]:
    """The gradients for the centre and for sigma; a step to the member + is sigma times the direction."""
    mean = sum(u for pair in utility for u in pair) / (2 * len(utility))
    for_centre, for_sigma = [], []
    for place, deviation in enumerate(sigma):
        steps = [deviation * float(direction[place]) for direction in directions]
        both = [(plus - mean, minus - mean, step) for (plus, minus), step in zip(utility, steps, strict=True)]
        for_centre.append(sum((plus - minus) / 2 * step for plus, minus, step in both) / len(both))
        for_sigma.append(sum((p + m) / 2 * (step**2 - deviation**2) / deviation for p, m, step in both) / len(both))
    return for_centre, for_sigma


def decay(l2: float, anchored: bool) -> Callable[[Vector], Vector]:
    """Returns the pull on a centre, away from the origin: 0, or the first centre that it is shown."""
    origin: Vector = []

    def pull(centre: Vector) -> Vector:
        if not origin:
            origin.extend(centre if anchored else [0.0] * len(centre))
        return [l2 * (theta - start) for theta, start in zip(centre, origin, strict=True)]

    return pull


def adam(
    learning_rate: float, l2: float, beta1: float = 0.9, beta2: float = 0.999, anchored: bool = False
) -> Callable[[Vector, Vector], Vector]:
    """Returns a function of (centre, estimated gradient) that returns the next centre; it climbs."""
    moments: dict[str, Any] = {"t": 0}
    decayed = decay(l2, anchored)

    def step(centre: Vector, g: Vector) -> Vector:
        moments["t"] += 1
        t = moments["t"]
        m, v = moments.setdefault("m", [0.0] * len(centre)), moments.setdefault("v", [0.0] * len(centre))
        pull, after = decayed(centre), []
        for i, theta in enumerate(centre):
            descent = -g[i] + pull[i]
            m[i] = beta1 * m[i] + (1 - beta1) * descent
            v[i] = beta2 * v[i] + (1 - beta2) * descent**2
            m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
            after.append(theta - learning_rate * m_hat / (math.sqrt(v_hat) + 1e-8))
        return after

    return step


def momentum(
    learning_rate: float, l2: float, beta: float = 0.9, anchored: bool = False
) -> Callable[[Vector, Vector], Vector]:
    """Returns a function of (centre, estimated gradient) that returns the next centre; it climbs."""
    velocity: Vector = []
    decayed = decay(l2, anchored)

    def step(centre: Vector, g: Vector) -> Vector:
        velocity.extend([0.0] * (len(centre) - len(velocity)))
        pull, after = decayed(centre), []
        for i, theta in enumerate(centre):
            velocity[i] = beta * velocity[i] + (-g[i] + pull[i])
            after.append(theta - learning_rate * velocity[i])
        return after

    return step


def clip_up(
    rate: float, max_speed: float, beta: float = 0.9, l2: float = 0.0, anchored: bool = False
) -> Callable[[Vector, Vector], Vector]:
    """Returns a function of (centre, estimated gradient) that returns the next centre; it climbs."""
    velocity: Vector = []
    decayed = decay(l2, anchored)

    def step(centre: Vector, g: Vector) -> Vector:
        velocity.extend([0.0] * (len(centre) - len(velocity)))
        ascent = [number - pull for number, pull in zip(g, decayed(centre), strict=True)]
        length = math.sqrt(sum(number**2 for number in ascent))
        for i, number in enumerate(ascent):
            velocity[i] = beta * velocity[i] + (rate * number / length if length > 0 else 0.0)
        speed = math.sqrt(sum(number**2 for number in velocity))
        if speed > max_speed:
            for i in range(len(velocity)):
                velocity[i] *= max_speed / speed
        return [theta + number for theta, number in zip(centre, velocity, strict=True)]

    return step


def novelty_search(
    generations: Sequence[dict[str, Any]],
    centres: Sequence[Vector],
    step: Callable[[], Callable[[Vector, Vector], Vector]],
    k: int,
    in_turn: bool = False,
) -> list[tuple[int, Vector]]:
    """Returns for each generation whose it was, and where its centre was before and (in the next row) after it.

    Args:
        generations: Of each, `fitness` (pairs), `behaviour` (pairs of points), `of_centre` (points, one an episode),
            `directions`, `weight` of fitness, and `uniform`, a number from [0, 1) that decides whose it is.
        centres: Where each agent starts.
        step: Makes an optimiser's step, one for each agent.
        k: Neighbours.
        in_turn: Whether agents take turns throughout.
    """
    steps = [step() for _ in centres]
    at, did, archive, seen = [list(c) for c in centres], [[0.0]] * len(centres), list[Vector](), list[Any]()
    for number, one in enumerate(generations):
        agent = number % len(centres)
        if number >= len(centres) and not in_turn:
            how_new = [novelty(behaviour, archive, k) for behaviour in did]
            agent, point = 0, one["uniform"] * sum(how_new)
            while point >= how_new[agent]:
                point -= how_new[agent]
                agent += 1
        episodes = one["of_centre"]
        did[agent] = [sum(column) / len(episodes) for column in zip(*episodes, strict=True)]
        archive.append(did[agent])
        pairs = len(one["fitness"])
        by_fitness = centred_ranks([f for pair in one["fitness"] for f in pair])
        by_novelty = centred_ranks([novelty(b, archive, k) for pair in one["behaviour"] for b in pair])
        w = one["weight"]
        utility = [w * f + (1 - w) * n for f, n in zip(by_fitness, by_novelty, strict=True)]
        g = gradient([(utility[2 * i], utility[2 * i + 1]) for i in range(pairs)], one["directions"])
        before = at[agent]
        at[agent] = steps[agent](before, g)
        seen.append((agent, before))
    return [*seen, (-1, at)]


def fitness_weights(fitness: Sequence[float], weight: float, least: float, delta: float, patience: int) -> Vector:
    """The weight after each generation's fitness of a centre."""
    best, t, weights = -math.inf, 0, []
    for mine in fitness:
        if mine > best:
            best, t = mine, 0
            weight = min(1.0, weight + delta)
        else:
            t += 1
        if t >= patience:
            t = 0
            weight = max(least, weight - delta)
        weights.append(weight)
    return weights


def mean_and_variance(rows: Sequence[Sequence[float]]) -> tuple[Vector, Vector]:
    """Of each column, in two passes; the variance is that of the population (over n)."""
    columns = list(zip(*rows, strict=True))
    means = [math.fsum(column) / len(column) for column in columns]
    variances = [
        math.fsum((float(x) - mean) ** 2 for x in column) / len(column)
        for column, mean in zip(columns, means, strict=True)
    ]
    return means, variances


def info_number(infos: Sequence[dict[str, Any]], key: str, reduction: str) -> float:
    """One number of an episode, from the infos of its steps; NaN where there is none."""
    values = [_number(info[key]) for info in infos if key in info]
    if reduction == "last":
        return _number(infos[-1].get(key, math.nan))
    if not values:
        return math.nan
    total = 0.0
    for value in values:
        total += value
    return {"sum": total, "mean": total / len(values), "min": min(values), "max": max(values)}[reduction]


def _number(value: Any) -> float:
    return float(value[0] if getattr(value, "shape", ()) else value)


def virtual_batch_norm(
    layers: Sequence[Any], batch: Sequence[Vector], observations: Sequence[Vector], eps: float = 1e-3
) -> list[Vector]:
    """A network's outputs: layer after layer, first on the reference batch and then, with its statistics, on the rest.

    Args:
        layers: Functions from a row to a row; or, for a normalisation, its scales and its shifts, one per channel.
        batch: The rows of the reference batch.
        observations: The rows to answer.
        eps: Added to variances.
    """
    for layer in layers:
        if callable(layer):
            batch, observations = [layer(row) for row in batch], [layer(row) for row in observations]
            continue
        scales, shifts = layer
        positions = len(batch[0]) // len(scales)  # of an image: a row has one channel after the other
        channel = [place // positions for place in range(len(batch[0]))]
        numbers = [[x for row in batch for x, c in zip(row, channel, strict=True) if c == one] for one in set(channel)]
        means, variances = mean_and_variance(list(zip(*numbers, strict=True)))

        def normalized(row: Vector, channel: Any, means: Any, variances: Any, scales: Any, shifts: Any) -> Vector:
            return [
                scales[c] * (x - means[c]) / math.sqrt(variances[c] + eps) + shifts[c]
                for x, c in zip(row, channel, strict=True)
            ]

        given = channel, means, variances, scales, shifts
        batch, observations = (
            [normalized(row, *given) for row in batch],
            [normalized(row, *given) for row in observations],
        )
    return list(observations)


def lifetimes(
    environment: Any,
    answers: Sequence[Callable[[Any], Any]],
    seeds: Sequence[Sequence[int]],
    max_steps: int | None = None,
) -> list[list[tuple[float, int]]]:
    """One member after the other, one episode after the other: returns (return, steps) by member and episode.

    Args:
        environment: With Gymnasium's reset and step.
        answers: For each member, the action it takes on an observation.
        seeds: For each member, the seeds of its episodes.
        max_steps: Steps after which an episode ends, or None.
    """
    lives = []
    for answer, its_seeds in zip(answers, seeds, strict=True):
        episodes = []
        for seed in its_seeds:
            observation, _ = environment.reset(seed=seed)
            total, steps, over = 0.0, 0, False
            while not over:
                observation, reward, terminated, truncated, _ = environment.step(answer(observation))
                total, steps = total + float(reward), steps + 1
                over = terminated or truncated or steps == max_steps
            episodes.append((total, steps))
        lives.append(episodes)
    return lives


def splitmix64(seed: int, number: int) -> int:
    """Output of that number, from 0, in Python's integers, which know no overflow."""
    mask = (1 << 64) - 1
    z = (int(seed) + (number + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def episode_seed(member_seed: int, episode: int) -> int:
    return splitmix64(member_seed, episode) >> 33


def tensor_offsets(direction: int, sizes: Sequence[int], table: int) -> list[int]:
    """Where the slice of each tensor begins, in a table of the given size."""
    groups: list[list[int]] = [[]]
    for size in sizes:
        if sum(groups[-1]) + size > table // 2:
            groups.append([])
        groups[-1].append(size)
    hashed, offsets = 0, [0, 0]
    while len(set(offsets)) < len(offsets) or hashed == 0:
        offsets = []
        for group in groups:
            at = splitmix64(splitmix64(direction, 0), hashed) % (table - sum(group) + 1)
            hashed += 1
            for size in group:
                offsets.append(at)
                at += size
    return offsets


def sensitivities(
    answers: Callable[[Vector], Sequence[Sequence[float]]], at: Vector, step: float
) -> tuple[Vector, Vector]:
    """SM-G-SUM and SM-G-ABS by central differences, parameter by parameter; `answers` gives rows of A numbers."""
    of_sum, of_abs = [], []
    for place in range(len(at)):
        up, down = list(at), list(at)
        up[place] += step
        down[place] -= step
        slopes = [
            [(u - d) / (2 * step) for u, d in zip(more, less, strict=True)]
            for more, less in zip(answers(up), answers(down), strict=True)
        ]
        columns = list(zip(*slopes, strict=True))
        of_sum.append(math.sqrt(sum((sum(column) / len(column)) ** 2 for column in columns)))
        of_abs.append(math.sqrt(sum((sum(map(abs, column)) / len(column)) ** 2 for column in columns)))
    return of_sum, of_abs


def genetic_algorithm(
    phi: Callable[[int], Vector],
    direction: Callable[[int], Vector],
    once: Callable[[Vector, int, int], float],
    often: Callable[[Vector, int], float],
    draws: Sequence[tuple[Sequence[int], Sequence[int]]],
    sigma: float,
    parents: int,
    candidates: int,
) -> list[tuple[int, ...]]:
    """The elite after each generation. Every genome is decoded from its first number on, whenever it is needed.

    Args:
        phi: From a number to first parameters.
        direction: From a number to a direction.
        once: From parameters, a generation and a place in it to a score.
        often: From parameters and a generation to a mean score.
        draws: For each generation the numbers of its offspring, and a number by which each chooses its parent.
        sigma: Of a mutation.
        parents: T in the paper; 0 for random search, where nobody has offspring.
        candidates: For the elite.
    """

    def decode(genome: tuple[int, ...]) -> Vector:
        vector = list(phi(genome[0]))
        for number in genome[1:]:
            vector = [x + sigma * e for x, e in zip(vector, direction(number), strict=True)]
        return vector

    elites: list[tuple[int, ...]] = []
    breeding: list[tuple[int, ...]] = []
    tried: list[tuple[int, ...]] = []
    for generation, (numbers, choices) in enumerate(draws):
        offspring = []
        for number, choice in zip(numbers, choices, strict=True):
            parent = breeding[choice % len(breeding)] if breeding else ()
            offspring.append((*parent, number))
        scored = [(once(decode(genome), generation, i), -i, genome) for i, genome in enumerate(offspring)]
        ranked = [genome for _, _, genome in sorted(scored, reverse=True)]
        if generation == 0:
            elite = ranked[0]
        else:  # the candidates of the generation before are tried along with this one
            elite = max(tried, key=lambda genome: often(decode(genome), generation))
        others = [genome for genome in ranked if genome != elite]
        tried = [elite, *others[: candidates - 1]]
        breeding = [elite, *others[: parents - 1]] if parents else []
        elites.append(elite)
    return elites


def answer(
    logits: Callable[[list[int]], Sequence[float]],
    prompt: Sequence[int],
    new: int,
    ends: Sequence[int],
    temperature: float = 0.0,
    uniforms: Sequence[float] = (),
) -> list[int]:
    """The tokens after a prompt: the most probable ones, or drawn by the inverse of the distribution function.

    `logits` maps all tokens so far to those of the next one; `uniforms` has a number in [0, 1) for each token.
    """
    tokens: list[int] = []
    while len(tokens) < new:
        row = [float(one) for one in logits([*prompt, *tokens])]
        if temperature == 0:
            chosen = row.index(max(row))
        else:
            weights = [math.exp((one - max(row)) / temperature) for one in row]
            threshold, chosen, below = uniforms[len(tokens)] * sum(weights), 0, weights[0]
            while below <= threshold and chosen < len(row) - 1:
                chosen += 1
                below += weights[chosen]
        tokens.append(chosen)
        if chosen in ends:
            break
    return tokens


def kullback_leibler(logits: Sequence[float], others: Sequence[float]) -> float:
    """From the first distribution to the second, in nats."""
    total, other_total = (sum(math.exp(one) for one in row) for row in (logits, others))
    first = [math.exp(one) / total for one in logits]
    second = [math.exp(one) / other_total for one in others]
    return sum(p * math.log(p / q) for p, q in zip(first, second, strict=True))
