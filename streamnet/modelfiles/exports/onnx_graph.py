"""A graph of ONNX operations as it is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

from streamnet.features.columns.category import escape_surrogates

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8  # of the release with these operator sets
DYNAMIC = "N"  # name of the number of samples


def to_onnx_type(dtype: DTypeLike) -> int:
    """The number of a type in ONNX; that of objects is string."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


@final
class Graph:
    """Operations in order, each of which has one output with a name of its own.

    Args:
        reserved: Names that no operation gets.
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        self._taken = set(reserved)
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def make_name(self, wish: str) -> str:
        """A name that nothing else has, like ``wish``."""
        wish = escape_surrogates(wish)
        name, number = wish, 1
        while not name or name in self._taken:
            number += 1
            name = f"{wish}_{number}"
        self._taken.add(name)
        return name

    def input(self, wish: str, dtype: DTypeLike, text: str) -> str:
        """A column of all samples, shape=(n, 1)."""
        name = self.make_name(wish)
        kind = to_onnx_type(dtype)
        self._inputs.append(helper.make_tensor_value_info(name, kind, [DYNAMIC, 1], text))
        return name

    def output(self, source: str, name: str, dtype: DTypeLike, shape: list[int], text: str) -> None:
        """Return a value of each sample, shape=(n, *shape)."""
        self._nodes.append(helper.make_node("Identity", [source], [name]))
        kind = to_onnx_type(dtype)
        self._outputs.append(helper.make_tensor_value_info(name, kind, [DYNAMIC, *shape], text))

    def constant(self, value: Any, dtype: DTypeLike) -> str:
        """A constant; equal ones are stored once."""
        array: NDArray[Any] = np.array(value, dtype, order="C")
        content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
        key = array.dtype.str, array.shape, content
        if key not in self._constants:
            self._constants[key] = name = self.make_name("constant")
            self._initializers.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def add(self, operation: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operation; return the name of its output."""
        name = self.make_name(operation.lower())
        node = helper.make_node(operation, inputs, [name], domain=domain, **attributes)
        self._nodes.append(node)
        return name

    def concat(self, parts: list[str], axis: int = 1) -> str:
        """Join values along an axis."""
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=axis)

    def clip(self, x: str, bound: float, dtype: DTypeLike) -> str:
        """Numbers within +-bound."""
        return self.add("Clip", x, self.constant(-bound, dtype), self.constant(bound, dtype))

    def sum(self, x: str, axis: int, *, keep: bool = False) -> str:
        """Sum along an axis."""
        return self.add("ReduceSum", x, self.constant([axis], np.int64), keepdims=int(keep))

    def select(self, x: str, places: list[int]) -> str:
        """Columns of a matrix."""
        return self.add("Gather", x, self.constant(places, np.int64), axis=1)

    def expand(self, x: str, axis: int) -> str:
        """Add an axis of length 1."""
        return self.add("Unsqueeze", x, self.constant([axis], np.int64))

    def squeeze(self, x: str, axis: int) -> str:
        """Remove an axis of length 1."""
        return self.add("Squeeze", x, self.constant([axis], np.int64))

    def cast(self, x: str, dtype: DTypeLike) -> str:
        """Convert to another type."""
        return self.add("Cast", x, to=to_onnx_type(dtype))

    def look_up(self, x: str, keys: list[Any], values: list[int]) -> str:
        """Whole numbers by key, texts or whole numbers; 0 for other keys."""
        kind = "strings" if isinstance(keys[0], str) else "int64s"
        table = {f"keys_{kind}": keys, "values_int64s": values, "default_int64": 0}
        return self.add("LabelEncoder", x, domain="ai.onnx.ml", **table)

    def build(self, name: str, metadata: dict[str, str], version: str) -> onnx.ModelProto:
        """Return the model."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, self._initializers
        )
        model = helper.make_model(
            graph,
            producer_name="streamnet",
            producer_version=version,
            opset_imports=[helper.make_opsetid(*each) for each in OPSETS.items()],
            ir_version=IR_VERSION,
        )
        helper.set_model_props(model, metadata)
        return model
