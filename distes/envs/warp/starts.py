"""The kernels that start episodes: in the worlds of a mask, at the states that Gymnasium's environments draw."""

# mypy: ignore-errors

import warp as wp

from distes.envs.warp.generator import Generator, normal, seeded, uniform

wp.set_module_options({"enable_backward": False})


@wp.kernel
def draw_starts(
    mask: wp.array[wp.bool],
    origin: wp.array[wp.int32],
    seeds: wp.array[wp.int64],
    reseed: wp.array[wp.int32],
    start: wp.array[wp.float64],
    scale: wp.float64,
    gaussian: wp.bool,
    widths: wp.array[wp.float64],
    sure: wp.array[wp.uint64],
    heights: wp.array[wp.float64],
    generators: wp.array[Generator],
    qpos: wp.array2d[wp.float32],
    qvel: wp.array2d[wp.float32],
):
    """Draws positions, then velocities, of each masked world, in the order in which Gymnasium does.

    Args:
        mask: Which worlds start.
        origin: The number of each world's generator.
        seeds: Of each world; used if `reseed` is not 0. Otherwise the generator goes on.
        reseed: One number.
        start: The model's positions, around which those of a start lie.
        scale: Of the noise.
        gaussian: Whether velocities are Gaussian, or uniform.
        widths: See `generator.ziggurat`, as for the next two.
        sure: See there.
        heights: See there.
        generators: Read and written.
        qpos: Written.
        qvel: Written.
    """
    world = wp.tid()
    if not mask[world]:
        return
    state = generators[origin[world]]
    if reseed[0] != 0:
        state = seeded(wp.uint64(seeds[world]))
    for i in range(qpos.shape[1]):
        drawn = uniform(state, -scale, scale)
        state = drawn.state
        qpos[world, i] = wp.float32(start[i] + drawn.number)
    for i in range(qvel.shape[1]):
        if gaussian:
            drawn = normal(state, widths, sure, heights)
            qvel[world, i] = wp.float32(scale * drawn.number)
        else:
            drawn = uniform(state, -scale, scale)
            qvel[world, i] = wp.float32(drawn.number)
        state = drawn.state
    generators[origin[world]] = state


@wp.kernel
def copy_rows(mask: wp.array[wp.bool], source: wp.array2d[wp.float32], target: wp.array2d[wp.float32]):
    """Copies what belongs to the masked worlds; a thread for each number."""
    world, i = wp.tid()
    if mask[world]:
        target[world, i] = source[world, i]


@wp.kernel
def clear_rows(mask: wp.array[wp.bool], target: wp.array2d[wp.float32]):
    """Sets what belongs to the masked worlds to zero; a thread for each number."""
    world, i = wp.tid()
    if mask[world]:
        target[world, i] = 0.0
