"""The texts of `distes train --help`. They come from the table of keys, so that torch is not imported."""

import shutil
import textwrap
from collections.abc import Callable, Iterable

from distes.api.configuration import shipped
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.key_table import Described, Key, described, keys_of, noise, top_level
from distes.api.configuration.layers import DEFAULTS
from distes.api.configuration.synonyms import SYNONYMS
from distes.cli.flags import Flags
from distes.errors import ConfigurationError, did_you_mean
from distes.errors.installation import typed_command

# The keys that are set most: what stands for a default that is null, and a few words on each.
COMMON = {
    "task.env": ("", "the environment, by Gymnasium's id"),
    "task.normalize_observations": ("", "by running mean and deviation"),
    "policy": ("", "the network: --help policy"),
    "policy.hidden_sizes": ("", "units of each hidden layer"),
    "strategy": ("", "the algorithm: --help strategy"),
    "strategy.population_size": ("", "members per generation"),
    "strategy.sigma": ("", "standard deviation of the noise"),
    "strategy.learning_rate": ("", "of the optimiser"),
    "generations": ("no limit", "stop after this many"),
    "total_timesteps": ("no limit", "stop after this many steps"),
    "target_fitness": ("threshold", "stop when an evaluation reaches it"),
    "eval_episodes": ("", "of the policy without noise"),
    "seed": ("", "of all that is random"),
    "workers": ("", "processes on Ray; 0: this process; auto: both"),
    "device": ("", "auto, cpu or cuda"),
    "run_dir": ("runs/...", "where the results are written"),
}
# What each strategy is for; see docs/strategies.md for what it does.
PURPOSES = {
    "OpenAIES": "the first to try: policies of any size, with an optimiser",
    "ARS": "linear policies, raw returns of the best directions",
    "PGPE": "adapts sigma for each parameter; with ClipUp",
    "SNES": "small policies and functions: adapts sigma by ranks",
    "SepCMAES": "the same by the rules of CMA-ES, diagonal",
    "LMMAES": "parameters that depend on each other, in little memory",
    "GuidedES": "smooth fitness: searches along its latest gradients",
    "SafeES": "deep and recurrent policies that one sigma would break",
    "BernoulliES": "masks of a Subnetwork: learns a probability for each bit",
    "NSES": "deceptive rewards: novelty alone; set task.behaviour",
    "NSRES": "deceptive rewards: novelty and fitness in equal parts",
    "NSRAES": "deceptive rewards: more novelty while fitness stalls",
    "DeepGA": "no gradient at all: mutation and truncation selection",
    "GANS": "deceptive rewards by mutation: selects by novelty",
    "RandomSearch": "the baseline that every other one must beat",
}
NARROWEST, WIDEST = 60, 110  # columns of text
FLAGS = {
    "config NAME|FILE": "A configuration that comes with distes, or a YAML file of these keys; flags win over it.",
    "resume DIR": "Continue the run in a directory, with a longer budget if given; as `distes resume DIR`.",
    "replay G[,PAIR,SIGN]": "With --resume: evaluate one member of generation G alone, or its centre.",
    "trust": "With --resume: the run may import and call code that is not part of distes.",
    "print_config": "Print the resolved configuration as YAML, and end.",
    "dry_run": "Build everything, say what the run would do, and end; evaluates nothing, and writes no file.",
    "help WORD": "all, a part such as strategy, a class, config, or any word in the name of a key.",
    "version": "Print the version, and end.",
}


def format_help(flags: Flags) -> str:
    """The help text that a command line asks for, with the arguments of the classes that it chooses.

    Raises:
        ConfigurationError: A file or a class cannot be read, or no key has the word in its name.
    """
    classes: dict[str, str] = {}
    for layer in [DEFAULTS, *flags.layers]:
        classes.update(layer.classes)
    if flags.help_of is not None:
        return _part(flags.help_of, classes[flags.help_of])
    word = (flags.help or "").strip()
    if not word:
        return _screen(classes)
    if word == "all":
        return _everything(classes)
    if word in ("config", "configs"):
        return _configurations()
    if word in CLASSES:
        return _choices(word) + _part(word, classes[word])
    owner = next((section for section in CLASSES if word in CLASSES[section]), None)
    return _part(owner, word) if owner is not None else _search(word, classes)


def width() -> int:
    """Columns for text: those of the terminal, but not more than are easy to read."""
    return max(NARROWEST, min(shutil.get_terminal_size().columns, WIDEST))


def _screen(classes: dict[str, str]) -> str:
    """One screen: the keys that are set most."""
    known = {key.name: key for key in keys_of(classes)}
    rows = []
    for name, (null, meaning) in COMMON.items():
        if name in CLASSES:
            rows.append((f"--{name}", classes[name].rpartition(".")[2], meaning))
        elif name in known:
            default = (known[name].default or "required").strip("'")
            rows.append((f"--{name}", null if null and default == "null" else default, meaning))
    left, middle = (max(len(row[column]) for row in rows) for column in (0, 1))
    text = f"usage: {typed_command('train')} [--config NAME|FILE] [--KEY VALUE ...]\n\n"
    text += "Trains a policy by evolution strategies; without any flag, CartPole-v1.\n\n"
    text += f"  {'key':<{left}}  {'default':<{middle}}  meaning\n"
    start = left + middle + 6
    for key_name, default, meaning in rows:
        lines = textwrap.wrap(meaning, max(20, width() - start))
        text += f"  {key_name:<{left}}  {default:<{middle}}  {lines[0]}\n"
        text += "".join(f"{'':{start}}{line}\n" for line in lines[1:])
    return text + (
        "\n"
        "  --config halfcheetah   a configuration that comes with distes, or FILE.yaml\n"
        "  --help config          lists the configurations\n"
        "  --help strategy        lists the strategies; also: task, policy, perturbation\n"
        "  --help sigma           finds keys by any part of their name\n"
        "  --help all             shows every key\n"
        "Also: --print_config, --dry_run, --quiet, --debug, --version, --resume RUN_DIR\n"
    )


def _everything(classes: dict[str, str]) -> str:
    """All keys, with their whole descriptions."""
    text = f"usage: {typed_command('train')} [--config NAME|FILE] [--KEY VALUE ...]\n\n"
    text += "".join(_entry(name, about) for name, about in FLAGS.items())
    text += "".join(map(_key, top_level()))
    for section, path in classes.items():
        text += _part(section, path)
    return text + "\nnoise:\n" + "".join(map(_key, noise()))


def _part(section: str, path: str) -> str:
    """A part of the configuration: what its class is, and the keys that the class takes."""
    found: Described = described(section, path)
    about = f"{section}: {path.rpartition('.')[2]}. {found.about}"
    choices = (
        f"{', '.join(CLASSES[section])}, or the import path of a class. --{section}.help CLASS shows its arguments."
    )
    head = "\n".join(textwrap.wrap(about, width()))
    return f"\n{head}\n" + _entry(f"{section} CLASS", choices) + "".join(map(_key, found.keys))


def _choices(section: str) -> str:
    """The classes of a part, one per line."""
    abouts = {name: PURPOSES.get(name) or described(section, name).about for name in CLASSES[section]}
    return f"--{section} CLASS: one of these, or the import path of a class of your own\n\n" + _lines(abouts)


def _configurations() -> str:
    """The configurations that come with distes, one per line."""
    return "--config NAME: one of these, or a YAML file\n\n" + _lines(
        {one: shipped.about(one) for one in shipped.names()}
    )


def _lines(abouts: dict[str, str]) -> str:
    """Names and what they are, one per line, cut at the terminal's width."""
    left = max(map(len, abouts))
    short = {name: textwrap.shorten(about, width() - left - 4, placeholder=" ...") for name, about in abouts.items()}
    return "".join(f"  {name:<{left}}  {about}\n" for name, about in short.items())


def _search(word: str, classes: dict[str, str]) -> str:
    """The keys with a word in their name or, if there is none, in their description; those of chosen classes first.

    Raises:
        ConfigurationError: There is none.
    """
    wanted = SYNONYMS.get(word.lower(), word).removeprefix("--").lower()
    chosen = keys_of(classes)
    others: dict[Key, list[str]] = {}
    for section, names in CLASSES.items():
        for name in names:
            for key in described(section, name).keys if name != classes[section] else ():
                others.setdefault(key, []).append(name)
    for has_word in (_named(wanted), _described_with(wanted)):
        found = [key for key in chosen if has_word(key)]
        elsewhere = {key: names for key, names in others.items() if has_word(key)}
        if found or elsewhere:
            return "".join(map(_key, found)) + _elsewhere(elsewhere, found)
    known = [*(key.name for key in [*chosen, *others]), *(key.name.rpartition(".")[2] for key in [*chosen, *others])]
    raise ConfigurationError(f"No key has {word!r} in its name or its description.{did_you_mean(word, known)}")


def _named(word: str) -> Callable[[Key], bool]:
    return lambda key: word in key.name.lower()


def _described_with(word: str) -> Callable[[Key], bool]:
    return lambda key: word in key.help.lower()


def _elsewhere(keys: dict[Key, list[str]], shown: Iterable[Key]) -> str:
    """Keys that only other classes have, or in which they differ."""
    text, names_shown = "", {key.name for key in shown}
    same: dict[str, list[str]] = {}
    for key, names in keys.items():
        if key.name in names_shown:
            same.setdefault(key.name, []).extend(names)
        else:
            text += _key(key).replace("\n", f"   (of {', '.join(names)})\n", 1)
    for name, owners in same.items():
        text += textwrap.fill(f"--{name} is also a key of {', '.join(owners)}.", width()) + "\n"
    return text


def _key(key: Key) -> str:
    end = " (required)" if key.default is None else f" (default: {key.default})"
    return _entry(f"{key.name} {key.kind}", f"{key.help}{end}".strip())


def _entry(key: str, about: str) -> str:
    return f"  --{key}\n{textwrap.indent(textwrap.fill(about, width() - 8), ' ' * 8)}\n"
