"""Which library a configuration comes from whose keys are not ours, by its content."""

from typing import Any, Literal

Source = Literal["openai", "uber", "rllib", "zoo", "evotorch"]
SOURCES: dict[Source, str] = {
    "openai": "OpenAI",
    "uber": "Uber",
    "rllib": "RLlib",
    "zoo": "rl-zoo",
    "evotorch": "EvoTorch",
}
OF_RLLIB = {"num_workers", "use_pytorch", "framework", "noise_stdev", "episodes_per_batch", "num_rollouts"}


def recognised(content: Any) -> Source | None:
    """Returns the library that a file of JSON or YAML comes from, by its content; None for any other file."""
    if not isinstance(content, dict):
        return None
    if "game" in content and "model" in content:
        return "uber"
    if isinstance(content.get("config"), dict) and "env_id" in content:
        policy = content.get("policy")
        kind = policy.get("type") if isinstance(policy, dict) else None
        of_uber = {"algo_type", "novelty_search", "population_size", "num_elites"} & content.keys()
        return "uber" if of_uber or kind in ("ESAtariPolicy", "GAAtariPolicy") else "openai"
    sections = [one for one in content.values() if isinstance(one, dict)]
    if any({"run", "alg"} & one.keys() for one in sections):
        return "rllib"
    if any({"n_timesteps", "n_delta"} & one.keys() for one in sections):
        return "zoo"
    return "rllib" if "env" in content and OF_RLLIB & content.keys() else None
