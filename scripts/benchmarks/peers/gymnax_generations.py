#!/usr/bin/env python3
"""OpenAI-ES on a task of gymnax as one compiled JAX program, to be compared with compiled.py: useful steps per second.

    python -m venv peer
    peer/bin/pip install jax==0.10.2 jaxlib==0.10.2 gymnax==1.0.1 six==1.17.0
    python scripts/benchmarks/speed/compiled.py --peer peer/bin/python

Antithetic pairs, centred ranks, Adam, dense noise, 64-64 tanh; ask, all episodes and tell are one `jax.jit`. An episode
has as many steps as Gymnasium's limit. Rows whose episode has ended are stepped on, as `jax.lax.scan` has it; only
steps of running episodes count. XLA takes one core for such small products; with `--devices 2` the members are split
over two devices that it makes of two cores.
"""

import argparse
import os
import time
from typing import Any

SIGMA, RATE, HIDDEN = 0.05, 0.02, 64
STEPS = {"CartPole-v1": 500, "Pendulum-v1": 200, "Acrobot-v1": 500}
BOUND = {"Pendulum-v1": 2.0}  # of continuous actions; of others the largest number's is taken


def program(name: str, pairs: int, devices: int) -> tuple[Any, Any]:
    """One generation as a compiled function, and the first centre.

    Args:
        name: The environment's id.
        pairs: Half the population.
        devices: Over how many the members are split.
    """
    import gymnax  # here, since --help needs no peer
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    env, env_params = gymnax.make(name)
    inputs = env.observation_space(env_params).shape[0]
    outputs = 1 if name in BOUND else env.action_space(env_params).n
    shapes = [(inputs, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, outputs)]
    layers = [
        (jax.random.normal(key, shape) / shape[0] ** 0.5, jnp.zeros(shape[1]))
        for key, shape in zip(jax.random.split(jax.random.key(0), len(shapes)), shapes, strict=True)
    ]
    centre, unravel = ravel_pytree(layers)

    def policy(parameters: Any, x: Any) -> Any:
        for weight, bias in parameters[:-1]:
            x = jnp.tanh(x @ weight + bias)
        x = x @ parameters[-1][0] + parameters[-1][1]
        return jnp.clip(x, -BOUND[name], BOUND[name]) if name in BOUND else jnp.argmax(x)

    def episode(flat: Any, key: Any) -> Any:
        parameters = unravel(flat)
        start, rest = jax.random.split(key)
        seen, state = env.reset(start, env_params)

        def step(carry: Any, key: Any) -> Any:
            seen, state, over, total, count = carry
            seen, state, reward, ended, *_ = env.step_env(key, state, policy(parameters, seen), env_params)
            return (seen, state, jnp.maximum(over, ended), total + reward * (1 - over), count + 1 - over), None

        (*_, total, count), _ = jax.lax.scan(step, (seen, state, 0.0, 0.0, 0.0), jax.random.split(rest, STEPS[name]))
        return total, count

    evaluate, along = jax.vmap(episode), jax.sharding.PartitionSpec("members")
    if devices > 1:
        mesh = jax.make_mesh((devices,), ("members",), axis_types=(jax.sharding.AxisType.Auto,))
        evaluate = jax.shard_map(evaluate, mesh=mesh, in_specs=along, out_specs=along, check_vma=False)

    @jax.jit
    def generation(centre: Any, m: Any, v: Any, number: Any, key: Any) -> Any:
        noise_key, episode_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (pairs, centre.size))
        keys = jax.random.split(episode_key, pairs)
        members = jnp.concatenate([centre + SIGMA * noise, centre - SIGMA * noise])
        total, count = evaluate(members, jnp.concatenate([keys, keys]))
        ranks = jnp.argsort(jnp.argsort(total)) / (2 * pairs - 1) - 0.5
        gradient = -(ranks[:pairs] - ranks[pairs:]) @ noise / (2 * pairs)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        centre -= RATE * m / (1 - 0.9**number) / (jnp.sqrt(v / (1 - 0.999**number)) + 1e-8)
        return centre, m, v, total.mean(), count.sum()

    return generation, centre


def main() -> None:
    """Prints steps per second, of the clock and of the processor, and the mean return of the last generation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", choices=list(STEPS))
    parser.add_argument("--members", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--before", type=int, default=1, help="generations that are not counted")
    parser.add_argument("--devices", type=int, default=1)
    options = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={options.devices}"
    import jax

    generation, centre = program(options.env, options.members // 2, options.devices)
    key, m, v = jax.random.key(1), 0 * centre, 0 * centre
    number, useful, elapsed, started, busy = 0, 0.0, 0.0, 0.0, 0.0
    while number <= options.before or elapsed < options.seconds:
        key, now = jax.random.split(key)
        number += 1
        centre, m, v, mean, count = generation(centre, m, v, float(number), now)
        steps = float(count)  # waits for the result
        if number == options.before:
            started, busy = time.perf_counter(), time.process_time()
        elif number > options.before:
            useful += steps
            elapsed = time.perf_counter() - started
    print(f"steps_per_second {useful / elapsed:.1f}")
    print(f"steps_per_cpu_second {useful / (time.process_time() - busy):.1f}")
    print(f"share {useful / ((number - options.before) * options.members * STEPS[options.env]):.3f}")
    print(f"mean_return {float(mean):.1f}", flush=True)


if __name__ == "__main__":
    main()
