"""The kernel that gives contacts between a plane and a capsule the frame that MuJoCo gives them.

MuJoCo's first tangent is the capsule's axis, projected on the plane. MuJoCo Warp 4.0 takes an axis of the world where
the projection is shorter than 0.5 (google-deepmind/mujoco issue 2774). With a pyramidal friction cone the frame decides
over the forces: Ant's accelerations are then off by up to 80 per cent.
"""

# mypy: ignore-errors

from typing import Any

import warp as wp

wp.set_module_options({"enable_backward": False})

PLANE, CAPSULE = wp.constant(0), wp.constant(3)  # of MuJoCo's mjtGeom
SHORTEST = wp.constant(1e-15)  # as in mju_normalize3


@wp.kernel
def correct_frames(
    geom_type: wp.array[wp.int32],
    geom_xmat: wp.array2d[wp.mat33],
    contacts: wp.array[wp.int32],
    geom: wp.array[wp.vec2i],
    world: wp.array[wp.int32],
    frame: wp.array[wp.mat33],
):
    """Rewrites the tangents of contacts between a plane and a capsule.

    Args:
        geom_type: Of each geom of the model.
        geom_xmat: The orientation of each world's geoms.
        contacts: The number of contacts, which may be larger than there is room for.
        geom: Of each contact, its two geoms.
        world: Of each contact.
        frame: Of each contact: normal, first tangent, second tangent, as rows; written.
    """
    contact = wp.tid()
    if contact >= contacts[0]:
        return
    pair = geom[contact]
    if pair[0] < 0 or pair[1] < 0:
        return
    if geom_type[pair[0]] != PLANE or geom_type[pair[1]] != CAPSULE:
        return
    turned = geom_xmat[world[contact], pair[1]]
    axis = wp.vec3(turned[0, 2], turned[1, 2], turned[2, 2])
    old = frame[contact]
    normal = wp.vec3(old[0, 0], old[0, 1], old[0, 2])
    tangent = axis - normal * wp.dot(normal, axis)
    length = wp.length(tangent)
    if length < SHORTEST:
        tangent = wp.vec3(1.0, 0.0, 0.0)
    else:
        tangent = tangent / length
    other = wp.cross(normal, tangent)
    frame[contact] = wp.matrix_from_rows(normal, tangent, other)


def contact_filter(m: Any, d: Any) -> None:
    """MuJoCo Warp's callback after its narrow phase."""
    wp.launch(
        correct_frames,
        dim=d.naconmax,
        inputs=[m.geom_type, d.geom_xmat, d.nacon, d.contact.geom, d.contact.worldid],
        outputs=[d.contact.frame],
    )
