"""What every metric of distes means, and the tag that TensorBoard shows it under: the source of its descriptions.

TensorBoard sorts tags by name, so the names of the groups put what one looks for first: `eval` (the centre), `fitness`
(the population), `info`, `strategy`, and last `system`. `metrics.jsonl` has the names that scripts rely on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FILM = "info/film"
TEST = "The final centre on data that nothing was chosen by"
FINAL = "eval/final"  # the final score; the first of its group, which TensorBoard's table of runs shows by default


@dataclass(frozen=True)
class Entry:
    """What a metric means.

    Attributes:
        key: Its name in `metrics.jsonl`.
        tag: Its name in TensorBoard.
        text: A description, one or two sentences of Markdown.
        counts_faults: Whether 0 says nothing. TensorBoard shows such a metric from its first other value on.
    """

    key: str
    tag: str
    text: str
    counts_faults: bool = False


def _same(key: str, text: str) -> Entry:
    return Entry(key, key, text)


def _strategy(key: str, text: str) -> Entry:
    return Entry(key, f"strategy/{key}", text)


def _system(key: str, text: str, *, counts_faults: bool = False) -> Entry:
    return Entry(key, f"system/{key}", text, counts_faults)


OF_CENTRE = [
    _same("eval/mean", "Mean return of the centre, without noise: **the learning curve**."),
    _same("eval/std", "Standard deviation of the centre's returns over its episodes."),
    _same("eval/min", "The centre's worst episode."),
    _same("eval/max", "The centre's best episode."),
    _same(
        "eval/rank",
        "Share of the population that an episode of the centre surpasses, averaged over episodes. Near 0.5, the centre "
        "is like its members; near 1, perturbing it only harms: `sigma` may be too large.",
    ),
]
OF_POPULATION = [
    _same("fitness/mean", "Mean fitness of all members."),
    _same("fitness/std", "Standard deviation of the members' fitness. Near 0, there is nothing to be learnt from."),
    _same("fitness/min", "Fitness of the worst member."),
    _same("fitness/max", "Fitness of the best member. It is a maximum of noise, and no measure of progress."),
    _same("fitness/p10", "10 % of the members have this fitness or less."),
    _same("fitness/p25", "First quartile of the members' fitness."),
    _same("fitness/p50", "Median of the members' fitness."),
    _same("fitness/p75", "Third quartile of the members' fitness."),
    _same("fitness/p90", "90 % of the members have this fitness or less."),
    Entry(
        "fitness/non_finite",
        "fitness/non_finite",
        "Members ranked last since a number of theirs was NaN or infinite (`--non_finite worst`).",
        counts_faults=True,
    ),
    _same("fitness/std_of_top", "ARS: standard deviation of the returns of the best directions, its sigma_R."),
    Entry(
        "return/mean",
        "fitness/return_mean",
        "Mean return of all members, where fitness counts rewards otherwise: their signs, or normalised.",
    ),
    Entry("return/std", "fitness/return_std", "Standard deviation of these returns."),
    Entry("return/min", "fitness/return_min", "Return of the member with the lowest one."),
    Entry("return/max", "fitness/return_max", "Return of the member with the highest one."),
    Entry("episode/length", "info/episode_length", "Steps of an episode of the population, on average."),
    Entry(
        "episode/cap", "info/episode_cap", "Steps after which an episode of the population is cut (`task.episode_cap`)."
    ),
    Entry("episode/capped", "info/episode_capped", "Share of the population's episodes that were as long as that cap."),
]
OF_STRATEGY = [
    _strategy("sigma", "Standard deviation of the perturbations; the mean where each parameter has its own."),
    _strategy("sigma/min", "The smallest sigma of a parameter."),
    _strategy("sigma/max", "The largest sigma of a parameter."),
    _strategy("learning_rate", "The optimiser's learning rate."),
    _strategy("norm/gradient", "Euclidean norm of the gradient estimate."),
    _strategy(
        "alignment/estimate",
        "Cosine of the estimate with the gradient of back-propagation (`--alignment_every N`): on the generation's "
        "mini-batch, or on all training data where pairs have batches of their own.",
    ),
    _strategy(
        "alignment/theory",
        "What this cosine would be on average if fitness were linear within sigma: sqrt(n / (n + P + 1)) for n pairs "
        "and P parameters, less for low-rank noise.",
    ),
    _strategy("alignment/step", "Cosine of the step that the centre took with the same gradient."),
    _strategy("norm/centre", "Euclidean norm of the centre's parameters, after the step."),
    _strategy(
        "norm/from_initial",
        "Euclidean distance of the centre from the initial one (`strategy.decay_towards: initial`).",
    ),
    _strategy("norm/step", "Euclidean norm of the step that the centre took."),
    _strategy(
        "norm/step_over_centre",
        "`norm/step` over `norm/centre`. Above some 0.1, training tends to be unstable; below some 0.001, slow.",
    ),
    _strategy("novelty/mean", "Mean novelty of the members: distance to what others did."),
    _strategy("novelty/max", "Novelty of the most novel member."),
    _strategy("novelty/centre", "Novelty of the centre that was perturbed."),
    _strategy("novelty/fitness_weight", "NSRA-ES: weight of fitness; the rest is the weight of novelty."),
    _strategy("archive/size", "Behaviours in the archive of novelty search."),
    _strategy("agent", "Novelty search: number of the centre that was perturbed, from 0."),
    _strategy("mask/kept", "BernoulliES: mean probability of a bit, the share of connections that a member keeps."),
    _strategy("mask/entropy", "BernoulliES: mean entropy of a bit, from 1 (undecided) to 0, where no other is tried."),
    _strategy("elite/fitness", "Genetic algorithms: fitness of the elite, which is the centre."),
    _strategy("elite/changed", "Genetic algorithms: 1 where another genome became the elite."),
    _strategy("genome/length", "Genetic algorithms: mutations of the elite since its initialisation, and 1."),
    _strategy("parents/worst", "DeepGA: fitness of the worst genome that became a parent."),
]
OF_SYSTEM = [
    _system("generation", "Generations done."),
    _system("timesteps", "Environment steps of all populations so far; those of the centre are not counted."),
    _system("episodes", "Episodes of all populations so far."),
    _system("seconds", "Training time so far, with the time before a resume."),
    _system("eval/episodes", "Episodes of the centre in the latest evaluation."),
    _system("rate/timesteps", "Environment steps per second of evaluation."),
    _system("rate/episodes", "Episodes per second of evaluation."),
    _system("time/ask", "Seconds for the strategy to ask."),
    _system("time/evaluate", "Seconds for the evaluation of population and centre."),
    _system("time/update", "Seconds for shaping, gradient estimate and optimiser."),
    _system(
        "time/wait",
        "Seconds of the generation in which no worker was ready to evaluate, as when workers start. They are not part "
        "of `time/evaluate`, nor of rates.",
        counts_faults=True,
    ),
    _system("time/record", "Seconds for monitors and checkpoint of the generation before."),
    _system(
        "workers/utilisation",
        "Share of the evaluation in which workers were evaluating. Much below 1, they wait for the slowest chunk, or "
        "for the driver: try a smaller `--chunk_size`, a larger population, or fewer workers.",
    ),
    _system(
        "rows/utilisation",
        "Share of the rows stepped in batched simulators that ran an episode. Much below 1, rows wait for the longest "
        "episode of their chunk: where rows cannot be dropped, try a smaller `--task.num_worlds` or a larger "
        "`--chunk_size`, four times as large as it.",
    ),
    _system("workers/alive", "Workers ready to evaluate."),
    _system("workers/restarted", "Workers that died and were replaced.", counts_faults=True),
    _system("chunks/retried", "Chunks begun again since an environment raised, this generation.", counts_faults=True),
    _system("chunks/reissued", "Chunks given out again, for any reason.", counts_faults=True),
    _system("chunks/late", "Of these, chunks given to an idle worker while another had them.", counts_faults=True),
    _system("chunks/duplicate", "Results for chunks that were done already.", counts_faults=True),
    _system(
        "bytes/down",
        "Bytes sent to each node in the generation; members' rows, where a strategy has them, go to one node each.",
        counts_faults=True,
    ),
    _system("bytes/up", "Bytes that all workers sent in the generation.", counts_faults=True),
]
# Those that only TensorBoard has.
DERIVED = [
    Entry(
        "",
        FINAL,
        "**The final score**: mean return of the final centre over `final_episodes` episodes, at the end of the run.",
    ),
    Entry(
        "", "eval/test/NAME", f"{TEST}: `fitness`, and the numbers that the task reports; of tasks that hold data out."
    ),
    Entry("", "fitness/histogram", "Histogram of the members' fitness."),
    Entry("", FILM, "An episode of the centre, on the page Images (`--film_every N`)."),
]
# Those that a task names, for the documentation; `entry_of` makes the entries of a run.
OF_TASK = [
    _same(
        "info/NAME", "Mean over the members of a number that `--task.log_info NAME` asks for, or that the task reports."
    ),
    _same("eval/info/NAME", "The same of the centre: mean over its episodes."),
]
GLOSSARY = {entry.key: entry for entry in (*OF_CENTRE, *OF_POPULATION, *OF_STRATEGY, *OF_SYSTEM)}
TAGS = {entry.tag for entry in GLOSSARY.values()}
DESCRIPTIONS = {entry.tag: entry.text for entry in (*GLOSSARY.values(), *DERIVED)}


def entry_of(key: str, scalars: Mapping[str, str] | None = None) -> Entry:
    """Returns the entry of a metric; one is made for a scalar that a task names, or a metric of a user's strategy.

    Args:
        key: The metric's name in `metrics.jsonl`.
        scalars: What the task's scalars mean, by name.
    """
    if key in GLOSSARY:
        return GLOSSARY[key]
    for start, whose in (("info/", "Mean over the members"), ("eval/info/", "Mean over the centre's episodes")):
        if key.startswith(start):
            name = key.removeprefix(start)
            what = (scalars or {}).get(name, f"`{name}`, as the task reports it")
            return Entry(key, f"{key}_of_info" if key in TAGS else key, f"{whose}: {what}.")
    return _strategy(key, f"`{key}`, as the strategy's `tell` returned it.")


def markdown() -> str:
    """Returns the glossary as a Markdown table for the documentation, ended by a newline."""
    lines = ["| in TensorBoard | in `metrics.jsonl` | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{tag}` | {f'`{key}`' if key else ''} | {text} |" for tag, key, text in _rows()]
    return "\n".join(lines) + "\n"


def _rows() -> Iterator[tuple[str, str, str]]:
    """Yields tag, key and text of all metrics, in the order in which TensorBoard shows them."""
    entries = [*GLOSSARY.values(), *DERIVED, *OF_TASK]
    yield from ((one.tag, one.key, one.text) for one in sorted(entries, key=lambda one: one.tag))
