"""What `check.py` does, step by step. Each step prints as it goes and returns its figures; what is wrong, it raises."""

from bits import batches, essentials, sanitizer, tests, training
from generations import chunks
from step import Step
from timings import forward, gradient, machine, products, syncs
from warp_steps import on_cores, physics, tasks, twice

OF_TRAINING = ("gymnasium", "jsonargparse", "rich", "safetensors", "tensorboard", "yaml")
OF_WARP = ("warp", "mujoco_warp", "mujoco", "gymnasium")
STEPS = (
    Step("machine", "what there is", 40, machine, gpu=False),
    Step("essentials", "graphs, memory that runs out, a recording that fails", 90, essentials),
    Step("sanitizer", "memory that graphs read, checked by compute-sanitizer", 90, sanitizer),
    Step("tests", "the tests that need a GPU", 120, tests, ("pytest", "pytest_timeout", "hypothesis", *OF_TRAINING)),
    Step("batches", "more than 65,535 members", 40, batches),
    Step("products", "slow shapes, and where launching is no longer all", 60, products),
    Step("syncs", "how often CartPole waits for the GPU", 30, syncs, ("gymnasium",)),
    Step("gradient", "the update's bits and speed", 60, gradient),
    Step("forward", "a step of all members", 60, forward),
    Step("training", "CartPole, twice on the device and once on the CPU", 90, training, OF_TRAINING),
    Step(
        "chunks", "CartPole's members in one chunk, and in several", 60, chunks, ("gymnasium", "jsonargparse", "yaml")
    ),
    Step("cores", "MuJoCo's steps/s on all cores", 40, on_cores, ("mujoco", "gymnasium"), gpu=False),
    Step("physics", "MuJoCo Warp's worlds and steps/s", 150, physics, OF_WARP),
    Step("twice", "MuJoCo Warp, two steps from one state", 30, twice, OF_WARP),
    Step("tasks", "whole tasks on MuJoCo Warp, beside the physics alone", 150, tasks, OF_WARP),
)
