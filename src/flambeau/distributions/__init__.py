"""`torch.distributions`: random variables with samples, log probabilities, moments and divergences."""

from . import constraints as constraints
from .compound import Independent, MixtureSameFamily, MultivariateNormal
from .continuous import Cauchy, Exponential, HalfNormal, Laplace, LogNormal, Normal, Uniform
from .discrete import Bernoulli, Categorical, Geometric, Multinomial, OneHotCategorical, Poisson
from .distribution import Distribution
from .divergence import kl_divergence, register_kl
from .gammas import Beta, Chi2, Dirichlet, Gamma

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Cauchy",
    "Chi2",
    "Dirichlet",
    "Distribution",
    "Exponential",
    "Gamma",
    "Geometric",
    "HalfNormal",
    "Independent",
    "Laplace",
    "LogNormal",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "Poisson",
    "Uniform",
    "constraints",
    "kl_divergence",
    "register_kl",
]


def __getattr__(name: str) -> object:
    if name in ("TransformedDistribution", "transforms", "AffineTransform", "TanhTransform"):
        raise NotImplementedError(
            f"distributions.{name}: not there yet; add the log of the transform's slope by hand"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
