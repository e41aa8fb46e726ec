"""The kernel that looks over all worlds after a step: which have gone wrong, and whether a buffer was too small."""

# mypy: ignore-errors

import warp as wp

wp.set_module_options({"enable_backward": False})

# Bits of MuJoCo Warp's OverflowType: candidates and contacts share one buffer among all worlds; and two limits.
SHARED, ITERATIONS, LINE_SEARCH = wp.constant(4 | 8), wp.constant(512), wp.constant(1024)
# Where the counts stand, of all worlds and steps since they were last read.
CONTACTS, UNCONVERGED, SEARCHED, FAILED, COUNTS = 0, 1, 2, 3, 4
_CONTACTS, _UNCONVERGED, _SEARCHED, _FAILED = (wp.constant(place) for place in range(COUNTS))


@wp.kernel
def note_faults(
    start: wp.array[wp.float64],
    qpos: wp.array2d[wp.float32],
    qvel: wp.array2d[wp.float32],
    warmstart: wp.array2d[wp.float32],
    overflow: wp.array[wp.int32],
    failed: wp.array[wp.bool],
    counts: wp.array[wp.int64],
):
    """Notes which worlds failed in a step, and clears the overflow bits.

    A world fails if its state has a number that is not finite, or if a buffer of its own was too small. Where the
    state is not finite, it is put back to the model's: otherwise each further solve would run to its limit, and all
    worlds wait for the last one.

    Args:
        start: The model's positions.
        qpos: Read, and written where it is not finite; and so the next two.
        qvel: See above.
        warmstart: See above.
        overflow: MuJoCo Warp's bits for each world; cleared.
        failed: Written.
        counts: Steps of worlds with contacts that did not fit, that reached the solver's limit, the line search's, and
            that failed; added to.
    """
    world = wp.tid()
    finite = bool(True)  # noqa: UP018, a variable of Warp, where True alone is a constant
    for i in range(qpos.shape[1]):
        finite = finite and wp.isfinite(qpos[world, i])
    for i in range(qvel.shape[1]):
        finite = finite and wp.isfinite(qvel[world, i])
    if not finite:
        for i in range(qpos.shape[1]):
            qpos[world, i] = wp.float32(start[i])
        for i in range(qvel.shape[1]):
            qvel[world, i] = 0.0
            warmstart[world, i] = 0.0
    bits = overflow[world]
    overflow[world] = 0
    if (bits & SHARED) != 0:
        wp.atomic_add(counts, _CONTACTS, wp.int64(1))
    if (bits & ITERATIONS) != 0:
        wp.atomic_add(counts, _UNCONVERGED, wp.int64(1))
    if (bits & LINE_SEARCH) != 0:
        wp.atomic_add(counts, _SEARCHED, wp.int64(1))
    wrong = (not finite) or (bits & ~(SHARED | ITERATIONS | LINE_SEARCH)) != 0
    if wrong:
        wp.atomic_add(counts, _FAILED, wp.int64(1))
    failed[world] = wrong
