"""A robust view transformation model: what a gait energy image says of its walker whatever the view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, solve

from gaitkeeper.errors import DataError

Array = np.ndarray


def robust_pca(
    data: Array, *, weight: float | None = None, tolerance: float = 1e-3, iterations: int = 60
) -> tuple[Array, Array]:
    """Split a matrix into one of low rank and a sparse one: minimize ``|L|_* + weight |S|_1`` with ``L + S = data``.

    Args:
        data: ``(d, m)``.
        weight: of the sparse part; without it ``1 / sqrt(max(d, m))``.
        tolerance: largest norm of ``data - L - S`` that ends it, relative to the data's.
        iterations: at most.

    Returns:
        The low-rank and the sparse part, ``(d, m)`` each.

    Reference:
        Lin et al., "The augmented Lagrange multiplier method for exact recovery of corrupted low-rank matrices",
        2010, algorithm 5 (inexact).

    Deviations:
        Singular values come from the smaller Gram matrix, whose errors are far below the tolerance.
    """
    weight = 1 / np.sqrt(max(data.shape)) if weight is None else weight
    norm = np.linalg.norm(data)
    if norm == 0:
        return np.zeros_like(data), np.zeros_like(data)
    spectral = np.sqrt(_gram_values(data)[-1])
    dual = data / max(spectral, np.abs(data).max() / weight)
    penalty = 1.25 / spectral
    largest = penalty * 1e7
    low, sparse = np.zeros_like(data), np.zeros_like(data)
    for _ in range(iterations):
        low = _shrunk(data - sparse + dual / penalty, 1 / penalty)
        rest = data - low + dual / penalty
        sparse = np.sign(rest) * np.maximum(np.abs(rest) - weight / penalty, 0)
        gap = data - low - sparse
        if np.linalg.norm(gap) <= tolerance * norm:
            break
        dual = dual + penalty * gap
        penalty = min(1.5 * penalty, largest)
    return low, sparse


def _gram_values(data: Array) -> Array:
    gram = data.T @ data if len(data) >= data.shape[1] else data @ data.T
    return np.linalg.eigvalsh(gram).clip(0)


def _shrunk(data: Array, threshold: float) -> Array:
    """Return a matrix with all singular values smaller by a threshold, at least 0."""
    if len(data) < data.shape[1]:
        return _shrunk(data.T, threshold).T
    squares, vectors = eigh(data.T @ data)
    values = np.sqrt(squares.clip(0))
    kept = values > threshold
    vectors, values = vectors[:, kept], values[kept]
    return ((data @ vectors) * ((values - threshold) / values)) @ vectors.T


def partial_least_squares(x: Array, y: Array, *, components: int) -> Array:
    """Return the directions ``(f, components)`` along which centered features covary most with centered targets.

    The scores ``x @ directions`` of the samples given are uncorrelated and of unit length.

    Args:
        x: ``(n, f)`` centered features.
        y: ``(n, k)`` centered targets.
        components: at most the rank of ``x``.

    Raises:
        ValueError: there are fewer components that covary with the targets.

    Reference:
        de Jong, "SIMPLS: an alternative approach to partial least squares regression", 1993.
    """
    product = x.T @ y
    directions: list[Array] = []
    basis = np.zeros((x.shape[1], 0))
    smallest = 1e-10 * np.linalg.norm(product)
    for _ in range(components):
        # The first left singular vector, from the smaller of the two Gram matrices.
        if product.shape[0] <= product.shape[1]:
            direction = np.linalg.eigh(product @ product.T)[1][:, -1]
        else:
            direction = product @ np.linalg.eigh(product.T @ product)[1][:, -1]
        score = x @ direction
        length = np.linalg.norm(score)
        if np.linalg.norm(product) <= smallest or length == 0:
            raise ValueError(f"expected at least {components} components, found {len(directions)}")
        direction, score = direction / length, score / length
        loading = x.T @ score
        # Twice, since one orthogonalization leaves rounding errors that grow from component to component.
        new = loading - basis @ (basis.T @ loading)
        new -= basis @ (basis.T @ new)
        new /= np.linalg.norm(new)
        basis = np.column_stack([basis, new])
        product = product - np.outer(new, new @ product)
        directions.append(direction)
    return np.column_stack(directions)


@dataclass(frozen=True, kw_only=True)
class RvtmSettings:
    """Settings of the model; the defaults were chosen on walkers 77-84.

    Args:
        rank: dimensions of the space that all views share, at most.
        ridge: pull toward that space's middle, relative to the mean squared length of a view's directions.
        components: of the partial least squares.
        shrink: rows and columns of the images that become one.
        sparsity: weight of the sparse part, relative to ``1 / sqrt`` of the larger side. At 1 the low-rank part keeps
            less than 80 dimensions, too few to tell people apart; at 8 nothing is sparse any more.
    """

    rank: int = 200
    ridge: float = 0.1
    components: int = 45
    shrink: int = 2
    sparsity: float = 4.0


@dataclass(frozen=True, kw_only=True)
class Rvtm:
    """A fitted model. Views are known to it; an image is described alike whatever its view.

    Energy images of the same walks in all views are stacked to long columns, robust PCA takes out of them what only
    single walks and views show, and a truncated singular value decomposition gives each view a basis for
    coordinates that views share. Partial least squares against who walks picks what tells people apart.

    Args:
        views: ``(v,)`` degrees.
        means: ``(v, p)`` mean image of each view, p pixels after shrinking.
        projections: ``(v, p, c)`` from an image's difference to the mean to its description.
        shift: ``(c,)`` added to it.
        shrink: as in the settings.

    Reference:
        Zheng et al., "Robust view transformation model for gait recognition", ICIP 2011.

    Deviations:
        The paper is known by its parts only. How they are joined is ours: least squares with a ridge for the shared
        coordinates, identity indicators as targets, scores that vary alike in all directions within a person, the
        cosine of descriptions as likeness.
    """

    views: Array
    means: Array
    projections: Array
    shift: Array
    shrink: int

    def describe(self, images: Array, views: Array) -> Array:
        """Return unit descriptions ``(n, c)`` float32.

        Args:
            images: ``(n, h, w)`` energy images in [0, 1].
            views: ``(n,)`` degrees.

        Raises:
            DataError: a view that the model was not fitted to, or images of another size.
        """
        pixels = shrunk(images, self.shrink)
        if pixels.shape[1] != self.means.shape[1]:
            raise DataError(f"expected images of {self.means.shape[1]} pixels, shrunk, got {pixels.shape[1]}")
        described = np.empty((len(images), self.projections.shape[2]), np.float32)
        for view in np.unique(views):
            at = np.flatnonzero(self.views == view)
            if not len(at):
                raise DataError(f"rvtm knows the views {', '.join(map(str, self.views))}; got {view}")
            those = views == view
            described[those] = (pixels[those] - self.means[at[0]]) @ self.projections[at[0]] + self.shift
        return described / np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-12)

    def state(self) -> dict[str, Array]:
        """Return all that defines the model, by name."""
        return {
            "views": np.asarray(self.views, np.int64),
            "means": np.asarray(self.means, np.float32),
            "projections": np.asarray(self.projections, np.float32),
            "shift": np.asarray(self.shift, np.float32),
            "shrink": np.array([self.shrink], np.int64),
        }

    @classmethod
    def of(cls, state: Mapping[str, Array]) -> Rvtm:
        """Return the model that a state defines.

        Raises:
            DataError: something is missing, or shapes do not fit.
        """
        wanted = ("views", "means", "projections", "shift", "shrink")
        missing = [name for name in wanted if name not in state]
        if missing:
            raise DataError(f"expected {', '.join(wanted)} of a view transformation model; {missing[0]} is missing")
        views, means, projections, shift, shrink = (np.asarray(state[name]) for name in wanted)
        if (
            projections.ndim != 3
            or means.shape != projections.shape[:2]
            or views.shape != means.shape[:1]
            or shift.shape != projections.shape[2:]
            or shrink.shape != (1,)
            or shrink[0] < 1
        ):
            shapes = ", ".join(f"{name} {np.shape(state[name])}" for name in wanted)
            raise DataError(f"the parts of the view transformation model do not fit each other: {shapes}")
        return cls(views=views, means=means, projections=projections, shift=shift, shrink=int(shrink[0]))


def shrunk(images: Array, factor: int) -> Array:
    """Return images ``(n, h, w)`` as rows of pixels ``(n, p)`` float32, each the mean of ``factor x factor``."""
    n, h, w = images.shape
    if h % factor or w % factor:
        raise DataError(f"images of {h}x{w} cannot be shrunk by {factor}")
    blocks = images.reshape(n, h // factor, factor, w // factor, factor)
    return blocks.mean((2, 4), dtype=np.float32).reshape(n, -1)


def columns(identities: Array, views: Array, walks: Array) -> tuple[Array, Array]:
    """Return which recordings show the same walk from all sides.

    Args:
        identities: ``(n,)``.
        views: ``(n,)``.
        walks: ``(n,)`` anything that tells an identity's walks apart. Where a view has several recordings of one,
            the first of each view go together, then the second, and so on.

    Returns:
        The views ``(v,)``, and the indices ``(m, v)`` of the recordings of each walk that has all views.
    """
    degrees = np.unique(views)
    found: dict[tuple[object, object], list[list[int]]] = {}
    for index, (who, view, walk) in enumerate(zip(identities, views, walks, strict=True)):
        slots = found.setdefault((who, walk), [[] for _ in degrees])
        slots[int(np.searchsorted(degrees, view))].append(index)
    whole = [row for slots in found.values() for row in zip(*slots, strict=False)]
    return degrees, np.array(whole, dtype=np.int64).reshape(-1, len(degrees))


def fit(images: Array, identities: Array, views: Array, walks: Array, *, settings: RvtmSettings | None = None) -> Rvtm:
    """Fit the model to energy images of people, each walk seen from all sides.

    Args:
        images: ``(n, h, w)`` in [0, 1].
        identities: ``(n,)``.
        views: ``(n,)`` degrees.
        walks: ``(n,)`` as :func:`columns` takes them.
        settings: of the model.

    Raises:
        DataError: fewer than two people have walks with all views.
    """
    settings = settings or RvtmSettings()
    degrees, index = columns(identities, views, walks)
    owner = identities[index[:, 0]] if len(index) else np.zeros(0)
    people, labels = np.unique(owner, return_inverse=True)
    if len(people) < 2:
        raise DataError(
            f"expected walks of two people or more seen from all of {len(degrees)} views, got {len(people)}"
        )
    pixels = shrunk(images, settings.shrink)
    stacked = pixels[index]
    means = stacked.mean(0)
    long = (stacked - means).reshape(len(index), -1).T
    low, _ = robust_pca(long, weight=settings.sparsity / np.sqrt(max(long.shape)))
    squares, vectors = eigh(low.T @ low)
    rank = min(settings.rank, int((squares > 1e-6 * squares[-1]).sum()))
    # Columns of ``bases`` carry the singular values, so that coordinates of the training walks have unit variance.
    bases = (low @ vectors[:, -rank:]).reshape(len(degrees), -1, rank) / np.sqrt(len(index))
    shared = np.stack([_least_squares(basis, settings.ridge) for basis in bases])
    features = np.einsum("mvp,vpr->vmr", stacked - means, shared).reshape(-1, rank)
    targets = np.eye(len(people))[np.tile(labels, len(degrees))]
    middle = features.mean(0)
    count = min(settings.components, rank, len(people) - 1)
    directions = partial_least_squares(features - middle, targets - targets.mean(0), components=count)
    directions = directions @ _whitening((features - middle) @ directions, np.tile(labels, len(degrees)))
    return Rvtm(
        views=degrees,
        means=means,
        projections=(shared @ directions).astype(np.float32),
        shift=(-middle @ directions).astype(np.float32),
        shrink=settings.shrink,
    )


def _whitening(scores: Array, labels: Array) -> Array:
    """Return ``(c, c)``: what makes scores ``(n, c)`` vary alike in all directions within a person."""
    number = np.bincount(labels)
    centers = np.stack([np.bincount(labels, column) for column in scores.T], 1) / number[:, None]
    apart = scores - centers[labels]
    squares, vectors = eigh(apart.T @ apart / len(scores))
    return vectors / np.sqrt(squares + 1e-3 * squares[-1])


def _least_squares(basis: Array, ridge: float) -> Array:
    """Return ``(p, r)``: from an image ``(p,)`` to its coordinates in a basis ``(p, r)`` with a ridge."""
    gram = basis.T @ basis
    pull = ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    return solve(gram + pull, basis.T, assume_a="pos").T
