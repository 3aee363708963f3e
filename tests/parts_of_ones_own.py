"""Registered layers, an optimizer and a loss of one's own, built of standard functions of `xp`."""

import dataclasses

import xpnet
from xpnet.layer import Unparametrised
from xpnet.loss import Loss


@xpnet.register
@dataclasses.dataclass(frozen=True)
class Scaled:
    """``y = scale * x``, a column each."""

    features: int
    start: float = 1.0
    names: tuple = ()

    @property
    def shapes(self):
        return {"scale": (self.features,)}

    def init(self, xp, seed, *, dtype="float32"):
        return {"scale": xp.full((self.features,), self.start, dtype=getattr(xp, dtype))}

    def __call__(self, xp, params, x, *, stream=None):
        scale = params["scale"]

        def pullback(dy, *, input_gradient=True):
            dx = dy * scale if input_gradient else None
            return dx, {"scale": xp.sum(dy * x, axis=0)}

        return x * scale, pullback


@xpnet.register
@dataclasses.dataclass(frozen=True)
class Twice:
    """A layer, applied to what it gives."""

    layer: object

    @property
    def shapes(self):
        return self.layer.shapes

    def init(self, xp, seed, *, dtype="float32"):
        return self.layer.init(xp, seed, dtype=dtype)

    def __call__(self, xp, params, x, *, stream=None):
        y, first = self.layer(xp, params, x)
        z, second = self.layer(xp, params, y)

        def pullback(dz, *, input_gradient=True):
            dy, late = second(dz)
            dx, early = first(dy, input_gradient=input_gradient)
            return dx, {name: early[name] + late[name] for name in late}

        return z, pullback


@xpnet.register
@dataclasses.dataclass(frozen=True)
class Centred(Unparametrised):
    """``x - mean``, where `mean` is a running mean of the columns: a layer with state."""

    features: int
    share: float = 0.1
    draws = False

    @property
    def state_shapes(self):
        return {"mean": (self.features,)}

    def init(self, xp, seed, *, dtype="float32"):
        return {"mean": xp.zeros((self.features,), dtype=getattr(xp, dtype))}

    def __call__(self, xp, params, x, *, stream=None):
        return x - params["mean"], lambda dy, *, input_gradient=True: (dy, {})

    def train(self, xp, params, x, *, stream=None):
        mean = (1 - self.share) * params["mean"] + self.share * xp.mean(x, axis=0)
        return x - mean, lambda dy, *, input_gradient=True: (dy, {}), {"mean": mean}


@xpnet.register
@dataclasses.dataclass(frozen=True)
class Noisy(Unparametrised):
    """``x * (1 + mask)`` with a mask of zeros and ones in training: a layer with random numbers."""

    rate: float = 0.25
    draws = True

    def __call__(self, xp, params, x, *, stream=None):
        if stream is None:
            return x, lambda dy, *, input_gradient=True: (dy, {})
        key, step = stream.next_key()
        factor = 1 + xp.sign(xp.nn.dropout(xp.ones_like(x), key, step, self.rate))
        return x * factor, lambda dy, *, input_gradient=True: (dy * factor, {})


@xpnet.register
@dataclasses.dataclass(frozen=True)
class Strange(Unparametrised):
    """A layer whose class raises errors of its own kinds."""

    code: object

    def __post_init__(self):
        if isinstance(self.code, str):
            raise RuntimeError(self.code)

    @property
    def n_in(self):
        return {}[self.code]


@xpnet.register
@dataclasses.dataclass(frozen=True)
class Lion:
    """Steps of one length, by the sign of a momentum (Chen et al., 2023)."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99

    def init(self, xp, params):
        return {"momentum": {name: xp.zeros_like(p) for name, p in params.items()}}

    def __call__(self, xp, params, grads, state):
        new, momentum = {}, {}
        for name, p in params.items():
            m, g = state["momentum"][name], grads[name]
            new[name] = p - self.lr * xp.tanh(1e4 * (self.beta1 * m + (1 - self.beta1) * g))
            momentum[name] = self.beta2 * m + (1 - self.beta2) * g
        return new, {"momentum": momentum}


@xpnet.register
@dataclasses.dataclass(frozen=True)
class Unbiased:
    """Adam of standard functions, which computes with the number of the step."""

    lr: float = 1e-3
    eps: float = 1e-3

    def init(self, xp, params):
        zeros = {name: xp.zeros_like(p) for name, p in params.items()}
        return {"step": 0, "mean": zeros, "variance": {name: x * 1 for name, x in zeros.items()}}

    def __call__(self, xp, params, grads, state):
        step = state["step"] + 1
        rate = self.lr / (1 - 0.9**step)
        new, means, variances = {}, {}, {}
        for name, p in params.items():
            g = grads[name]
            means[name] = 0.9 * state["mean"][name] + 0.1 * g
            variances[name] = 0.999 * state["variance"][name] + 0.001 * g**2
            unbiased = variances[name] / (1 - 0.999**step)
            new[name] = p - rate * means[name] / (xp.sqrt(unbiased) + self.eps)
        return new, {"step": step, "mean": means, "variance": variances}


def logistic(xp, outputs, labels):
    """Return the mean cross-entropy of a softmax and its gradient, of standard functions."""
    shifted = outputs - xp.max(outputs, axis=1, keepdims=True)
    log_sums = xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    classes = xp.arange(outputs.shape[1], dtype=labels.dtype)
    wanted = xp.astype(labels[:, None] == classes, outputs.dtype)
    loss = xp.sum(wanted * (log_sums - shifted)) / outputs.shape[0]
    return loss, (xp.exp(shifted - log_sums) - wanted) / outputs.shape[0]


@xpnet.register
@dataclasses.dataclass(frozen=True)
class Logistic(Loss):
    """The loss `logistic`, as a class with an option."""

    share: float = 1.0

    name = "logistic"

    def function(self, xp, outputs, targets):
        loss, d_outputs = logistic(xp, outputs, targets)
        return self.share * loss, self.share * d_outputs
