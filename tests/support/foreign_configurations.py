"""Small configurations with the keys of other libraries, and values of our own."""

from typing import Any

HUMANOID: dict[str, Any] = {
    "config": {
        "calc_obstat_prob": 0.2,
        "episodes_per_batch": 399,
        "eval_prob": 0.01,
        "l2coeff": 0.01,
        "noise_stdev": 0.05,
        "snapshot_freq": 7,
        "timesteps_per_batch": 3000,
        "return_proc_mode": "centered_sign_rank",
        "episode_cutoff_mode": "adaptive:50,0.5,1.5",
    },
    "env_id": "Pendulum-v0",
    "exp_prefix": "mine",
    "optimizer": {"type": "sgd", "args": {"stepsize": 0.03, "momentum": 0.8}},
    "policy": {
        "type": "MujocoPolicy",
        "args": {
            "ac_bins": "uniform:5",
            "ac_noise_std": 0.1,
            "nonlin_type": "elu",
            "hidden_dims": [24, 12],
            "connection_type": "ff",
        },
    },
}
GENETIC: dict[str, Any] = {
    "config": {
        "calc_obstat_prob": 0.0,
        "episodes_per_batch": 60,
        "eval_prob": 0.1,
        "l2coeff": 0.01,
        "noise_stdev": 0.2,
        "snapshot_freq": 0,
        "timesteps_per_batch": 100,
        "return_proc_mode": "centered_rank",
        "episode_cutoff_mode": 90,
    },
    "population_size": 6,
    "num_elites": 1,
    "env_id": "Acrobot-v1",
    "policy": {"type": "MujocoPolicy", "args": {"hidden_dims": [4]}},
}
NOVELTY: dict[str, Any] = {
    "config": {
        "calc_obstat_prob": 0.0,
        "episodes_per_batch": 8,
        "eval_prob": 0.5,
        "l2coeff": 0.01,
        "noise_stdev": 0.02,
        "snapshot_freq": 1,
        "timesteps_per_batch": 100,
        "return_proc_mode": "centered_sign_rank",
        "episode_cutoff_mode": 40,
    },
    "env_id": "FreewayNoFrameskip-v4",
    "algo_type": "nsr",
    "novelty_search": {"k": 4, "population_size": 2, "num_rollouts": 1, "selection_method": "round_robin"},
    "optimizer": {"type": "adam", "args": {"stepsize": 0.02}},
    "policy": {"type": "ESAtariPolicy", "args": {}},
}
ON_GPUS: dict[str, Any] = {
    "game": "gym.CartPole-v1",
    "model": "SimpleClassifier",
    "num_validation_episodes": 4,
    "num_test_episodes": 8,
    "population_size": 20,
    "timesteps": 5e3,
    "episode_cutoff_mode": "env_default",
    "return_proc_mode": "centered_rank",
    "l2coeff": 0.01,
    "mutation_power": 0.04,
    "optimizer": {"type": "adam", "args": {"stepsize": 0.02, "beta1": 0.8}},
}
RLLIB_ES = """
small-es:
    env: CartPole-v0
    run: ES
    stop: {episode_reward_mean: 150, timesteps_total: 40000}
    config:
        framework: tf
        num_workers: 3
        noise_size: 30000
        episodes_per_batch: 40
        seed: 3
        model: {fcnet_hiddens: [8]}
"""
RLLIB_ARS = """
small-ars:
    env: MountainCar-v0
    run: ARS
    config:
        num_rollouts: 20
        rollouts_used: 10
        sgd_stepsize: 0.02
        offset: 1
        eval_prob: 0.5
        observation_filter: NoFilter
        report_length: 3
        model: {fcnet_hiddens: []}
"""
RLLIB_OLD = """
old-ars:
    env: Pendulum-v0
    alg: ARS
    resources: {cpu: 2}
    stop: {time_total_s: 60}
    config: {num_deltas: 8, deltas_used: 4, stepsize: 0.05, policy_type: MLPPolicy, fcnet_hiddens: [4, 4]}
"""
ZOO = """
default: {n_timesteps: !!float 1e6, policy: LinearPolicy, n_delta: 2}
Pendulum-v0: &shared
  n_envs: 1
  n_timesteps: !!float 2e6
  policy: MlpPolicy
  normalize: "dict(norm_obs=True, norm_reward=True, gamma=0.9)"
  n_delta: 5
  n_top: 7
  delta_std: 0.1
  alive_bonus_offset: -0.5
  policy_kwargs: "dict(net_arch=[6], activation_fn=nn.Tanh)"
  zero_policy: False
CartPole-v1: {n_timesteps: 5e4, policy: LinearPolicy, n_delta: 3}
Nowhere-v0:
  <<: *shared
  learning_rate: lin_0.02
"""
CLIPUP = """
from evotorch.algorithms import PGPE
from evotorch.neuroevolution import GymNE

SPEED = 0.1
problem = GymNE(
    "Pendulum-v1",
    "Linear(obs_length, 5) >> Tanh() >> Linear(5, act_length)",
    env_config={"g": 9.0},
    decrease_rewards_by=0.5,
    num_actors="max",
)
searcher = PGPE(
    problem,
    popsize=20,
    radius_init=SPEED * 15,
    center_learning_rate=SPEED * 0.75,
    stdev_learning_rate=0.1,
    optimizer="clipup",
    optimizer_config=dict(max_speed=SPEED),
    num_interactions=int(20 * 200 * 0.75),
    popsize_max=80,
    symmetric=True,
)
searcher.run(12)
"""
