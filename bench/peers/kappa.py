"""kappa itself, by the module of its own that cargo built."""

from functools import lru_cache

import kappa_bench as engine
import numpy as np

import checks
from peers import Context, Task, Unavailable, inputs
from peers.inputs import Array
from works import Work

LEADING = 10
# Adam's epsilon of all peers (`peers/training.py`), and no penalty.
TRAINING = ["training.l2=0.0", "training.adam.epsilon=1e-7"]


@lru_cache
def place(backend: str) -> engine.Place:
    return engine.Place(backend == "wgpu")


def on_device(context: Context, work: Work) -> engine.Place:
    """Where it computes, unless it would compute otherwise than asked: what is asked for in double
    precision goes to the CPU."""
    if context.backend == "wgpu" and work.precision == "f64":
        raise Unavailable("kappa computes in single precision on a GPU")
    return place(context.backend)


def square(context: Context, work: Work) -> Task:
    n = work.given["n"]
    elements = np.random.default_rng(0).random((n, n)).tobytes()
    given = engine.Square(on_device(context, work), elements, n, work.precision == "f64")
    return Task(run=given.multiply, digest=checks.of_nothing)


def samples(at: engine.Place, work: Work, double: bool) -> engine.Samples:
    G, P = map(np.float64, inputs.last_layer(work.given["inputs"]))
    sizes = (*G.shape, P.shape[1])
    return engine.Samples(at, G.tobytes(), P.tobytes(), sizes, double)


def samples_as_asked(context: Context, work: Work) -> engine.Samples:
    return samples(on_device(context, work), work, work.precision == "f64")


def in_doubles(work: Work) -> engine.Samples:
    return samples(place("flex"), work, True)


def matrix(H: engine.Hessian) -> Array:
    elements = np.frombuffer(H.elements())
    return elements.reshape(2 * [round(elements.size**0.5)])


def reference(_: Context, work: Work) -> checks.Digest:
    return checks.of_matrix(matrix(in_doubles(work).hessian()))


def hessian(context: Context, work: Work) -> Task:
    given = samples_as_asked(context, work)
    return Task(run=given.hessian, digest=lambda H: checks.of_matrix(matrix(H)))


def whole_call(context: Context, work: Work) -> Task:
    G, P = inputs.last_layer(work.given["inputs"])
    layer = engine.Layer(G.tobytes(), P.tobytes(), (*G.shape, P.shape[1]))
    at = place(context.backend)
    return Task(run=lambda: layer.measure(at), digest=checks.of_spectrum)


def python_call(context: Context, work: Work) -> Task:
    import kappa

    G, P = inputs.last_layer(work.given["inputs"])
    return Task(
        run=lambda: kappa.hessian(G, probabilities=P, backend=context.backend),
        digest=lambda spectrum: checks.of_spectrum(spectrum.eigenvalues),
    )


def posterior(context: Context, work: Work) -> Task:
    deltas, delta, others = (work.given[name] for name in ("deltas", "delta", "others"))
    given = inputs.classifier(delta, others)
    classifier, W = given.in_kappa(), given.W.tobytes()

    def digest(found: engine.Posterior) -> checks.Digest:
        K = len(given.W)
        covariances = np.frombuffer(found.covariances()).reshape(others, K, K)
        probabilities = np.frombuffer(found.probabilities()).reshape(others, K)
        return checks.of_posterior(found.log_marginals, covariances, probabilities)

    note = "on the CPU" if context.backend == "wgpu" else None
    return Task(run=lambda: classifier.posterior(W, deltas, delta), digest=digest, note=note)


def python_posterior(_: Context, work: Work) -> Task:
    """`kappa.laplace`, which has the marginal likelihood along deltas of its own choice: at others it
    follows from the curvatures."""
    import kappa

    deltas, delta, others = (work.given[name] for name in ("deltas", "delta", "others"))
    given = inputs.classifier(delta, others)
    Z = given.G @ given.W.T

    def run() -> tuple[list[float], Array, Array]:
        found = kappa.laplace(
            given.G, Z, given.y, given.W, delta=delta, test_features=given.T, draws=1, backend="flex"
        )
        loss, square = (found.optimum[name] for name in ("loss", "square"))
        log_marginals = [
            -len(Z) * loss - 0.5 * at * square - 0.5 * np.log1p(found.curvatures / at).sum() for at in deltas
        ]
        return log_marginals, found.test.covariances, found.test.probabilities["probit"]

    note = "beside it proofs, probabilities in four other ways, and cheaper posteriors"
    return Task(run=run, digest=lambda found: checks.of_posterior(*found), note=note)


def of_matrix(context: Context, work: Work) -> tuple[engine.Hessian, str | None]:
    """MNIST's H, which is decomposed on the CPU."""
    if work.precision == "f32":
        raise Unavailable("kappa decomposes H in double precision only")
    return in_doubles(work).hessian(), "on the CPU" if context.backend == "wgpu" else None


def eigenpairs(context: Context, work: Work) -> Task:
    H, note = of_matrix(context, work)
    return Task(run=H.pairs, digest=checks.of_spectrum, note=note)


def eigenvalues(context: Context, work: Work) -> Task:
    H, note = of_matrix(context, work)
    return Task(run=H.values, digest=checks.of_spectrum, note=note)


def ten_largest(context: Context, work: Work) -> Task:
    given = samples_as_asked(context, work)
    return Task(
        run=lambda: given.largest(LEADING),
        digest=lambda pairs: checks.of_spectrum(pairs.values),
        note="without H, from features and probabilities",
    )


def trainer(context: Context, work: Work) -> engine.Trainer:
    batch = work.given["batch"]
    changes = [*TRAINING, f"training.batch_size={batch}"]
    return engine.Trainer(on_device(context, work), inputs.configuration(work.given["network"]), changes)


def training(context: Context, work: Work) -> Task:
    return Task(run=trainer(context, work).epoch, digest=checks.of_loss)


# The step beside a product, of a trainer of its own.
step = training


def network(at: engine.Place, name: str) -> engine.Network:
    return engine.Network(at, inputs.configuration(name))


@lru_cache
def initial_parameters(name: str) -> Array:
    return np.frombuffer(network(place("flex"), name).parameters(), np.float32)


def products(operator: engine.Samples | engine.NetworkHessian, V: Array) -> Array:
    """H V of V [k, n], a row each."""
    return rows(operator.product(engine.Block(V.tobytes(), V.shape[1])), len(V))


def rows(block: engine.Block, count: int) -> Array:
    return np.frombuffer(block.vectors()).reshape(count, -1)


@lru_cache(maxsize=1)
def exact_products(name: str) -> Array:
    """In double precision, on the CPU: [k, n]."""
    V = inputs.vectors(initial_parameters(name).size, inputs.VECTORS)
    return products(network(place("flex"), name).hessian(True), V)


def of_product(operator: engine.Samples | engine.NetworkHessian, work: Work, exact: Array) -> Task:
    count = work.given["vectors"]
    V = inputs.vectors(exact.shape[1], count)
    block = engine.Block(V.tobytes(), V.shape[1])
    return Task(
        run=lambda: operator.product(block),
        digest=lambda HV: checks.of_products(rows(HV, count), exact[:count]),
        scale=1 / count,
    )


def network_product(context: Context, work: Work) -> Task:
    name = work.given["network"]
    operator = network(on_device(context, work), name).hessian(work.precision == "f64")
    return of_product(operator, work, exact_products(name))


def layer_product(context: Context, work: Work) -> Task:
    """A last layer whose H would not fit, by its products alone (`kappa hessian --top`)."""
    return of_product(samples_as_asked(context, work), work, exact_of_layer(work))


def exact_of_layer(work: Work) -> Array:
    G, P = inputs.last_layer(work.given["inputs"])
    V = inputs.vectors(G.shape[1] * P.shape[1], work.given["vectors"])
    return products(in_doubles(work), V)


def network_pairs(context: Context, work: Work) -> Task:
    """With what is computed once, as the others' clocks run while they make their graph."""
    from peers import largest_pairs

    given = network(on_device(context, work), work.given["network"])
    exact = largest_pairs.exact_of_network(context, work)
    return Task(
        run=lambda: given.hessian(work.precision == "f64").largest(LEADING),
        digest=lambda pairs: largest_pairs.digest(found(pairs), exact),
    )


def layer_pairs(context: Context, work: Work) -> Task:
    from peers import largest_pairs

    given, exact = samples_as_asked(context, work), largest_pairs.exact_of_layer(work)
    return Task(
        run=lambda: given.largest(LEADING),
        digest=lambda pairs: largest_pairs.digest(found(pairs), exact),
    )


def found(pairs: engine.Pairs):
    from peers.largest_pairs import Pairs

    return Pairs(np.array(pairs.values), rows(pairs.vectors, LEADING).T, pairs.products)
