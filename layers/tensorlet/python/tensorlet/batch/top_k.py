"""The best classes of each row in place of all its scores: outputs `classes` and `scores`, both (rows, k)."""

from typing import Any, NamedTuple

import numpy as np

from tensorlet.batch.predict import Predictions
from tensorlet.batch.rows import Array, Column, UnreadableFile
from tensorlet.batch.values import object_array
from tensorlet.protocols.tfs_examples import CLASSIFY, find_roles
from tensorlet.registry.manifest import Manifest
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES


class Ranking(NamedTuple):
    """Which output holds the scores, and what its columns are called: `labels`, else their numbers from 0."""

    scores: TensorSpec
    labels: Array | None
    k: int

    @property
    def signature(self) -> Signature:
        """What a model that ranks would have; it has no inputs."""
        shape = (DYNAMIC, DYNAMIC if self.scores.shape[1] == DYNAMIC else min(self.k, self.scores.shape[1]))
        classes = TensorSpec("classes", "INT64" if self.labels is None else "BYTES", shape)
        return Signature((), (classes, TensorSpec("scores", self.scores.datatype, shape)))

    def rank(self, predictions: Predictions) -> Predictions:
        """The highest scores first; equal ones in the order of the classes, what is no number last.

        Raises UnreadableFile: there are more classes than labels.
        """
        if not predictions.outputs:
            return predictions
        scores = predictions.outputs[self.scores.name]
        if isinstance(scores, list):
            ranked = [(None, None) if row is None else self._rank(row[np.newaxis]) for row in scores]
            outputs: dict[str, Column] = {
                "classes": [None if row is None else row[0] for row, _ in ranked],
                "scores": [None if row is None else row[0] for _, row in ranked],
            }
        else:
            outputs = dict(zip(("classes", "scores"), self._rank(scores), strict=True))
        return predictions._replace(outputs=outputs)

    def _rank(self, scores: Array) -> tuple[Array, Array]:
        if self.labels is not None and scores.shape[1] > len(self.labels):
            raise UnreadableFile(
                f"top_k: the model has {len(self.labels)} labels for {scores.shape[1]} classes"
            )
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, : self.k].copy()
        classes = order if self.labels is None else self.labels[order]
        return classes, np.take_along_axis(scores, order, axis=1)


def find_ranking(manifest: Manifest, k: int) -> Ranking:
    """The scores are the output that the manifest calls so, else the only output.

    Raises:
        UnreadableFile: there is no such output, or its rows are no lists of numbers.
    """
    outputs = {spec.name: spec for spec in manifest.signature.outputs}
    roles = find_roles(manifest.document).values()
    names = [role.scores for role in roles if role.method == CLASSIFY and role.scores]
    scores = outputs.get(names[0]) if names else None
    if scores is None and len(outputs) == 1:
        [scores] = outputs.values()
    if scores is None:
        raise UnreadableFile(
            f"top_k: the model does not say which output holds scores, got {', '.join(outputs)}"
        )
    if len(scores.shape) != 2 or DATATYPES[scores.datatype].kind != "float":
        raise UnreadableFile(
            f"top_k: expected scores of shape [-1, classes], got {scores.datatype} {list(scores.shape)}"
        )
    labels: list[Any] = list(manifest.document.get("labels") or ())
    if not labels:
        return Ranking(scores, None, k)
    return Ranking(scores, object_array([str(label).encode() for label in labels]), k)
