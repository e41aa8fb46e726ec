"""The obvious, slow twin of every formula: plain loops in float64, written from the papers and not from our code.

centred_ranks          Salimans et al. 2017, arXiv:1703.03864, section 2.1 (ties: the mean of the ranks they cover)
gradient               the same, algorithm 2, with the released code's scaling: over 2N, not over sigma
ars                    Mania et al. 2018, arXiv:1803.07055, algorithm 2, lines 6 and 7, without the step size
adam, momentum         Kingma and Ba 2015, algorithm 1; Sutskever et al. 2013 without the factor on the gradient
clip_up                Toklu et al. 2020, arXiv:2008.02387, algorithm 2
episode_seed           SplitMix64's finaliser, Steele et al. 2014, doi:10.1145/2714064.2660195
low_rank               EGGROLL, arXiv:2511.16652, section 4: E = A B^T / sqrt(r), columns a_1 ... a_r and b_1 ... b_r
sensitivities          Lehman et al. 2018, arXiv:1712.06563, section 3.2, with means over observations for both
novelty_search         Conti et al. 2018, arXiv:1712.06560, algorithms 1 to 3, in the order of events that we state
fitness_weights        the same, algorithm 3, with the constants that it leaves open
novelty                Lehman and Stanley 2011, "Abandoning Objectives", equation 1
weighted_sum, mean_and_variance, lifetimes         their definitions
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


def adam(
    learning_rate: float, l2: float, beta1: float = 0.9, beta2: float = 0.999
) -> Callable[[Vector, Vector], Vector]:
    """Returns a function of (centre, estimated gradient) that returns the next centre; it climbs."""
    moments: dict[str, Any] = {"t": 0}

    def step(centre: Vector, g: Vector) -> Vector:
        moments["t"] += 1
        t = moments["t"]
        m, v = moments.setdefault("m", [0.0] * len(centre)), moments.setdefault("v", [0.0] * len(centre))
        after = []
        for i, theta in enumerate(centre):
            descent = -g[i] + l2 * theta
            m[i] = beta1 * m[i] + (1 - beta1) * descent
            v[i] = beta2 * v[i] + (1 - beta2) * descent**2
            m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
            after.append(theta - learning_rate * m_hat / (math.sqrt(v_hat) + 1e-8))
        return after

    return step


def momentum(learning_rate: float, l2: float, beta: float = 0.9) -> Callable[[Vector, Vector], Vector]:
    """Returns a function of (centre, estimated gradient) that returns the next centre; it climbs."""
    velocity: Vector = []

    def step(centre: Vector, g: Vector) -> Vector:
        velocity.extend([0.0] * (len(centre) - len(velocity)))
        after = []
        for i, theta in enumerate(centre):
            velocity[i] = beta * velocity[i] + (-g[i] + l2 * theta)
            after.append(theta - learning_rate * velocity[i])
        return after

    return step


def clip_up(rate: float, max_speed: float, beta: float = 0.9, l2: float = 0.0) -> Callable[[Vector, Vector], Vector]:
    """Returns a function of (centre, estimated gradient) that returns the next centre; it climbs."""
    velocity: Vector = []

    def step(centre: Vector, g: Vector) -> Vector:
        velocity.extend([0.0] * (len(centre) - len(velocity)))
        ascent = [number - l2 * theta for number, theta in zip(g, centre, strict=True)]
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


def episode_seed(member_seed: int, episode: int) -> int:
    """In Python's integers, which know no overflow."""
    mask = (1 << 64) - 1
    z = (int(member_seed) + (episode + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 33


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
