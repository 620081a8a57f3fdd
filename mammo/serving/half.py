"""Stores the weights of an ONNX file in 16 bits, half its size; they become 32 bits again when the file is loaded."""

from pathlib import Path

import numpy as np

SMALLEST = 256  # numbers; smaller tensors save nothing


def halve_weights(path: Path) -> None:
    """Rewrite an ONNX file: each large float32 weight becomes a float16 one and a cast, which engines apply once.

    Values beyond float16's range stay as they are. All computing remains in float32.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    graph, casts = model.graph, []
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() >= np.finfo(np.float16).max:
            continue
        name = f"{tensor.name}.half"
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=onnx.TensorProto.FLOAT, name=f"{name}.cast"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    halved = {cast.output[0] for cast in casts}  # older files also list weights as inputs
    inputs = [value for value in graph.input if value.name not in halved]
    del graph.input[:]
    graph.input.extend(inputs)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
