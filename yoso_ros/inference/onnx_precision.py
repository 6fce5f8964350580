# SPDX-License-Identifier: Apache-2.0
"""The precision of an exported graph, encoded in the graph as strongly typed engines require.

Half precision applies to the convolutions of the network's feature modules (see `precision`) and the operators between
them. Deformable convolutions stay in float32 for their sampling positions: above 128 pixels float16 resolves 0.125
pixels.
"""

HALF_TYPES = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}  # precision -> name of the ONNX type
# The operators that may run in half precision, and how many of their inputs have that type (None: all).
_HALF_OPERATORS = {
    "Conv": None,
    "ConvTranspose": None,
    "Relu": None,
    "Clip": None,
    "Add": None,
    "Concat": None,
    "MaxPool": None,
    "Resize": 1,
}


def reduce_precision(proto, precision, feature_modules):
    """Convert the half-precision part of a network's graph to float16 or bfloat16. Changes and returns `proto`.

    Args:
        proto: onnx.ModelProto with weights, as returned by `fill_weights`.
        precision: key of `HALF_TYPES`, or "fp32", which leaves the graph unchanged.
        feature_modules: those of the network.

    Raises:
        ValueError: the graph has no weights from these modules.
    """
    if precision == "fp32":
        return proto
    import onnx

    graph = proto.graph
    types = _float_tensors(proto)
    ancestors = _nodes_up_to(graph, tuple(f"network.{name}." for name in feature_modules))
    conversion = _Conversion(graph, getattr(onnx.TensorProto, HALF_TYPES[precision]))
    for index, node in enumerate(list(graph.node)):
        data = node.input[: _HALF_OPERATORS.get(node.op_type, 0)]
        if index in ancestors and node.op_type in _HALF_OPERATORS and all(n in types for n in data if n):
            conversion.lower(node, len(data))
        else:
            conversion.keep(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(conversion.nodes)
    graph.initializer.extend(conversion.initializers)
    used = {name for node in graph.node for name in node.input}
    for initializer in [i for i in graph.initializer if i.name not in used]:
        graph.initializer.remove(initializer)
    return proto


def _float_tensors(proto):
    """Names of all float32 tensors of a graph."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(proto).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    names = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return names | {i.name for i in proto.graph.initializer if i.data_type == onnx.TensorProto.FLOAT}


def _nodes_up_to(graph, prefixes):
    """Indices of the nodes that have a weight with one of these name prefixes, and of all their ancestors."""
    producer = {name: index for index, node in enumerate(graph.node) for name in node.output}
    weights = {i.name for i in graph.initializer if i.name.startswith(prefixes)}
    open_nodes = [index for index, node in enumerate(graph.node) if weights & set(node.input)]
    if not open_nodes:
        raise ValueError(f"expected a graph with weights {', '.join(f'{prefix}*' for prefix in prefixes)}")
    found = set()
    while open_nodes:
        index = open_nodes.pop()
        if index not in found:
            found.add(index)
            open_nodes.extend(producer[name] for name in graph.node[index].input if name in producer)
    return found


class _Conversion:
    """The nodes of the new graph, with casts where the precision changes, each created once."""

    def __init__(self, graph, half_type):
        import onnx

        self._onnx, self._half_type = onnx, half_type
        self._weights = {initializer.name: initializer for initializer in graph.initializer}
        self._half, self._made = set(), set()
        self.nodes, self.initializers = [], []

    def lower(self, node, count):
        """Add a node that computes in half precision; its first `count` inputs have that type."""
        node.input[:] = [self._as_half(n) if n and i < count else n for i, n in enumerate(node.input)]
        self._half.update(node.output)
        self.nodes.append(node)

    def keep(self, node):
        """Add a node unchanged."""
        node.input[:] = [self._cast(n, "float32", self._onnx.TensorProto.FLOAT) for n in node.input]
        self.nodes.append(node)

    def _as_half(self, name):
        if name in self._half:
            return name
        if name not in self._weights:
            self._half.add(cast := self._cast(name, "half", self._half_type))
            return cast
        copy = f"{name}_half"
        if copy not in self._made:
            self._made.add(copy)
            values = self._onnx.numpy_helper.to_array(self._weights[name])
            dtype = self._onnx.helper.tensor_dtype_to_np_dtype(self._half_type)
            self.initializers.append(self._onnx.numpy_helper.from_array(values.astype(dtype), copy))
        return copy

    def _cast(self, name, suffix, onnx_type):
        if (suffix == "float32") != (name in self._half):
            return name
        cast = f"{name}_{suffix}"
        if cast not in self._made:
            self._made.add(cast)
            self.nodes.append(self._onnx.helper.make_node("Cast", [name], [cast], to=onnx_type))
        return cast
