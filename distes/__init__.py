"""distes: neural networks trained with evolution strategies, on one machine or on many.

The import is cheap: each name below is loaded on first use, and Ray, Gymnasium and TensorBoard are imported only by
the modules that need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distes.api.running.sweep import sweep as sweep
    from distes.api.running.train import resume as resume
    from distes.api.running.train import train as train
    from distes.api.saved.compare import compare as compare
    from distes.api.saved.evaluate import evaluate as evaluate
    from distes.api.saved.exported import export as export
    from distes.api.saved.language_model import LanguageModel as LanguageModel
    from distes.api.saved.load import load as load
    from distes.api.saved.policy import Policy as Policy
    from distes.api.saved.run import Run as Run
    from distes.errors import DistesError as DistesError
    from distes.noise.table import NoiseTable as NoiseTable
    from distes.perturbations.base import Perturbation as Perturbation
    from distes.perturbations.dense import Dense as Dense
    from distes.perturbations.dense_by_tensor import DenseByTensor as DenseByTensor
    from distes.perturbations.low_rank import LowRank as LowRank
    from distes.policies.base import StatefulPolicy as StatefulPolicy
    from distes.policies.cnn import CNN as CNN
    from distes.policies.language.causal_lm import CausalLM as CausalLM
    from distes.policies.layout import Layout as Layout
    from distes.policies.linear import Linear as Linear
    from distes.policies.mlp import MLP as MLP
    from distes.policies.recurrent import Recurrent as Recurrent
    from distes.policies.subnetwork import Subnetwork as Subnetwork
    from distes.policies.virtual_batch_norm import VirtualBatchNorm as VirtualBatchNorm
    from distes.pools.base import Pool as Pool
    from distes.pools.experiment import Experiment as Experiment
    from distes.pools.on_ray.pool import RayPool as RayPool
    from distes.pools.serial import SerialPool as SerialPool
    from distes.runs.plots.curves import plot_curves as plot_curves
    from distes.strategies.ars import ARS as ARS
    from distes.strategies.ask_tell import AskTell as AskTell
    from distes.strategies.base import Strategy as Strategy
    from distes.strategies.bernoulli_es import BernoulliES as BernoulliES
    from distes.strategies.deep_ga import DeepGA as DeepGA
    from distes.strategies.gans import GANS as GANS
    from distes.strategies.guided_es import GuidedES as GuidedES
    from distes.strategies.lm_ma_es import LMMAES as LMMAES
    from distes.strategies.novelty_es import NSES as NSES
    from distes.strategies.novelty_es import NSRES as NSRES
    from distes.strategies.nsra_es import NSRAES as NSRAES
    from distes.strategies.openai_es import OpenAIES as OpenAIES
    from distes.strategies.pgpe import PGPE as PGPE
    from distes.strategies.random_search import RandomSearch as RandomSearch
    from distes.strategies.safe_es import SafeES as SafeES
    from distes.strategies.sep_cmaes import SepCMAES as SepCMAES
    from distes.strategies.snes import SNES as SNES
    from distes.strategies.update.clipup import ClipUp as ClipUp
    from distes.tasks.base import Task as Task
    from distes.tasks.functions import Function as Function
    from distes.tasks.gym.gym import Gym as Gym
    from distes.tasks.language.language import Language as Language
    from distes.tasks.supervised.supervised import Supervised as Supervised
    from distes.training.trainer import Trainer as Trainer

__version__ = "0.1.0"

# Where each public name lives. Tasks, policies, strategies and perturbations have the same names in YAML and on the
# command line, where the first of each kind is the default.
HOMES = {
    "train": "distes.api.running.train",
    "resume": "distes.api.running.train",
    "load": "distes.api.saved.load",
    "evaluate": "distes.api.saved.evaluate",
    "export": "distes.api.saved.exported",
    "Run": "distes.api.saved.run",
    "LanguageModel": "distes.api.saved.language_model",
    "Policy": "distes.api.saved.policy",
    "ClipUp": "distes.strategies.update.clipup",
    "DistesError": "distes.errors",
    "Layout": "distes.policies.layout",
    "NoiseTable": "distes.noise.table",
    "Perturbation": "distes.perturbations.base",
    "Dense": "distes.perturbations.dense",
    "DenseByTensor": "distes.perturbations.dense_by_tensor",
    "LowRank": "distes.perturbations.low_rank",
    "StatefulPolicy": "distes.policies.base",
    "MLP": "distes.policies.mlp",
    "Linear": "distes.policies.linear",
    "CNN": "distes.policies.cnn",
    "Recurrent": "distes.policies.recurrent",
    "CausalLM": "distes.policies.language.causal_lm",
    "Subnetwork": "distes.policies.subnetwork",
    "VirtualBatchNorm": "distes.policies.virtual_batch_norm",
    "Pool": "distes.pools.base",
    "RayPool": "distes.pools.on_ray.pool",
    "SerialPool": "distes.pools.serial",
    "Strategy": "distes.strategies.base",
    "AskTell": "distes.strategies.ask_tell",
    "OpenAIES": "distes.strategies.openai_es",
    "ARS": "distes.strategies.ars",
    "PGPE": "distes.strategies.pgpe",
    "SNES": "distes.strategies.snes",
    "SepCMAES": "distes.strategies.sep_cmaes",
    "LMMAES": "distes.strategies.lm_ma_es",
    "GuidedES": "distes.strategies.guided_es",
    "SafeES": "distes.strategies.safe_es",
    "BernoulliES": "distes.strategies.bernoulli_es",
    "NSES": "distes.strategies.novelty_es",
    "NSRES": "distes.strategies.novelty_es",
    "NSRAES": "distes.strategies.nsra_es",
    "DeepGA": "distes.strategies.deep_ga",
    "GANS": "distes.strategies.gans",
    "RandomSearch": "distes.strategies.random_search",
    "Task": "distes.tasks.base",
    "Gym": "distes.tasks.gym.gym",
    "Function": "distes.tasks.functions",
    "Supervised": "distes.tasks.supervised.supervised",
    "Language": "distes.tasks.language.language",
    "Trainer": "distes.training.trainer",
    "compare": "distes.api.saved.compare",
    "plot_curves": "distes.runs.plots.curves",
    "sweep": "distes.api.running.sweep",
    "Experiment": "distes.pools.experiment",
}
__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'distes' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
