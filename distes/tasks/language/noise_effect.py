"""What noise of one sigma does to a language model's answers: a row of the probe's table, and when to warn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DESTROYED = 2.0  # nats per token: the member has forgotten what the model knew
FORMED = 0.25  # share of the model's own answers below which a few answers do not show that form is lost
COLUMNS = ("sigma", "KL/token", "logits moved by", "at most", "answers changed", "{form}", "fitness", "spread")


@dataclass(frozen=True)
class NoiseEffect:
    """What noise of one sigma does, means over members.

    Attributes:
        sigma: Its standard deviation; 0 for the centre.
        kl: From the centre's distribution to a member's, nats per token of the centre's answers.
        logits: Root mean square of the difference between a member's logits and the centre's.
        largest: The largest such difference.
        changed: Share of answers that are not the centre's.
        formed: Share of answers that are well-formed or, where the reward does not say, that ended.
        fitness: Mean fitness.
        spread: Standard deviation of fitness over members.
        failed: Answers whose reward failed.
        failure: What the reward did at the first of them, a sentence; empty if there is none.
    """

    sigma: float
    kl: float
    logits: float
    largest: float
    changed: float
    formed: float
    fitness: float
    spread: float
    failed: int = 0
    failure: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """A row of the table."""
        if not self.sigma:
            return ("0 (centre)", *"----", f"{self.formed:.0%}", f"{self.fitness:.4g}", "-")
        return (
            f"{self.sigma:.3g}",
            f"{self.kl:.2g}",
            f"{self.logits:.2g}",
            f"{self.largest:.2g}",
            f"{self.changed:.0%}",
            f"{self.formed:.0%}",
            f"{self.fitness:.4g}",
            f"{self.spread:.2g}",
        )


def warnings_of(base: NoiseEffect, effects: Sequence[NoiseEffect], form: str) -> Iterator[str]:
    """Yields sentences on what is wrong with the configured sigma, and what to do.

    Args:
        base: The centre's own answers.
        effects: Of a third of sigma, of sigma, and of three times as much.
        form: What a good form is called, such as `well-formed`.
    """
    smaller, configured, larger = effects
    failed = [one for one in (base, *effects) if one.failed]
    if failed:
        yield f"The reward failed for {sum(one.failed for one in failed)} answers of the probe. {failed[0].failure}"
    if not configured.spread > 0:
        better = f" With {larger.sigma:.3g} it differs." if larger.spread > 0 and not _destroyed(base, larger) else ""
        yield (
            f"strategy.sigma {configured.sigma:.3g}: all members of the probe have the fitness {configured.fitness:.4g}"
            f", and evolution learns nothing from equal members.{better} Choose a larger sigma, a graded reward, or "
            "more prompts."
        )
    if reason := _destroyed(base, configured):
        better = f" {smaller.sigma:.3g} keeps them." if not _destroyed(base, smaller) else ""
        yield (
            f"strategy.sigma {configured.sigma:.3g} destroys the answers: {reason.format(form=form)}. Choose a smaller "
            f"sigma.{better}"
        )


def _destroyed(base: NoiseEffect, effect: NoiseEffect) -> str:
    """Why a sigma destroys answers, part of a sentence; empty if it does not."""
    if not effect.kl <= DESTROYED:
        return f"members are {effect.kl:.3g} nats per token away from the model"
    if base.formed >= FORMED and effect.formed < base.formed / 2:
        return f"{effect.formed:.0%} of them are {{form}}, and of the model's own {base.formed:.0%}"
    return ""
