"""Rewriting an ONNX model such that the runtime knows its activations; pure.

Paddle writes hard swish, x * clip(x + 3, 0, 6) / 6, as four nodes, and onnxruntime does not see
that they are one: it goes over the data four times. ONNX has an operator for it since opset 14.
A model is a protobuf message; nothing of it is understood here but the nodes of its graph and
their constants. https://onnx.ai/onnx/operators/onnx__HardSwish.html has the formula.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_OPSET = 14
"""The first one with the operator."""

# Numbers of fields in onnx.proto: of a model, a graph, a node, an attribute, a tensor, an opset.
_GRAPH, _OPSETS = 7, 8
_NODE, _OUTPUT_OF_GRAPH = 1, 12
_INPUT, _OUTPUT, _NAME, _OPERATOR, _ATTRIBUTE = 1, 2, 3, 4, 5
_TENSOR = 5
_DIMS, _FLOATS, _RAW = 1, 4, 9
_DOMAIN, _VERSION = 1, 2

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


class _Field(NamedTuple):
    """A field of a message: its number, its value, and all of its bytes."""

    number: int
    value: int | bytes
    whole: bytes


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of a graph.

    Attributes:
        operator: what it does.
        inputs, outputs: names of what it reads and makes.
        number: its one number, for a constant that is one; else None.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    number: float | None


def with_hard_swish(model: bytes) -> bytes:
    """Return a model in which each hard swish is one node.

    Args:
        model: as ONNX, for an opset of 13 or later.

    Returns:
        A model that gives the same, to the last digits; the same bytes where there is none.

    Raises:
        ValueError: it is not ONNX that can be read.
    """
    fields = list(_fields(model))
    graph = next((field for field in fields if field.number == _GRAPH), None)
    if graph is None:
        raise ValueError("this is not ONNX that can be read: it has no graph")
    rewritten = _rewritten(_bytes_of(graph))
    if rewritten is None:
        return model
    parts = []
    for field in fields:
        if field.number == _GRAPH:
            parts.append(_written(_GRAPH, rewritten))
        elif field.number == _OPSETS:
            parts.append(_written(_OPSETS, _raised(_bytes_of(field))))
        else:
            parts.append(field.whole)
    return b"".join(parts)


def _rewritten(graph: bytes) -> bytes | None:
    """A graph with its chains replaced; None where there is none."""
    fields = list(_fields(graph))
    nodes = {
        at: _node(_bytes_of(field)) for at, field in enumerate(fields) if field.number == _NODE
    }
    made_by = {output: at for at, node in nodes.items() for output in node.outputs}
    uses = Counter(name for node in nodes.values() for name in node.inputs)
    kept = {
        _text(value.value)
        for field in fields
        if field.number == _OUTPUT_OF_GRAPH
        for value in _fields(_bytes_of(field))
        if value.number == 1
    }
    replaced: dict[int, bytes] = {}
    for at, node in nodes.items():
        chain = _chain(node, nodes, made_by)
        if chain is None:
            continue
        source, inner = chain
        results = [name for one in inner for name in nodes[one].outputs]
        # Someone else may read what is in between, and then it has to be there.
        if any(uses[name] != 1 or name in kept for name in results):
            continue
        replaced |= dict.fromkeys(inner, b"")
        replaced[at] = _written(_NODE, _hard_swish(source, node.outputs[0]))
    if not replaced:
        return None
    # The runtime warns of each constant that nobody reads.
    left = uses - Counter(name for at in replaced for name in nodes[at].inputs)
    for at, node in nodes.items():
        if node.operator == "Constant" and not any(left[name] for name in node.outputs):
            replaced.setdefault(at, b"")
    return b"".join(replaced.get(at, field.whole) for at, field in enumerate(fields))


def _chain(
    last: _Node, nodes: Mapping[int, _Node], made_by: Mapping[str, int]
) -> tuple[str, Sequence[int]] | None:
    """What goes into a hard swish that ends with a node, and its other nodes."""

    def maker(name: str, operator: str) -> int | None:
        at = made_by.get(name)
        return at if at is not None and nodes[at].operator == operator else None

    def number(name: str) -> float | None:
        at = made_by.get(name)
        return None if at is None else nodes[at].number

    if last.operator != "Div" or number(last.inputs[1]) != 6:
        return None
    product = maker(last.inputs[0], "Mul")
    if product is None:
        return None
    source, clipped = nodes[product].inputs
    clip = maker(clipped, "Clip")
    if clip is None or len(nodes[clip].inputs) != 3:
        return None
    summed, low, high = nodes[clip].inputs
    if (number(low), number(high)) != (0, 6):
        return None
    add = maker(summed, "Add")
    if add is None or nodes[add].inputs[0] != source or number(nodes[add].inputs[1]) != 3:
        return None
    return source, (product, clip, add)


def _hard_swish(source: str, result: str) -> bytes:
    return b"".join(
        _written(number, text.encode())
        for number, text in (
            (_INPUT, source),
            (_OUTPUT, result),
            (_NAME, result),
            (_OPERATOR, "HardSwish"),
        )
    )


def _node(message: bytes) -> _Node:
    inputs, outputs, operator, number = [], [], "", None
    for field in _fields(message):
        if field.number == _INPUT:
            inputs.append(_text(field.value))
        elif field.number == _OUTPUT:
            outputs.append(_text(field.value))
        elif field.number == _OPERATOR:
            operator = _text(field.value)
    if operator == "Constant":
        number = _number(message)
    return _Node(operator, tuple(inputs), tuple(outputs), number)


def _number(constant: bytes) -> float | None:
    """The value of a constant of one float32; None for another."""
    for attribute in _fields(constant):
        if attribute.number != _ATTRIBUTE:
            continue
        for tensor in _fields(_bytes_of(attribute)):
            if tensor.number != _TENSOR:
                continue
            raw = b""
            for part in _fields(_bytes_of(tensor)):
                if part.number in (_FLOATS, _RAW):
                    raw += part.value if isinstance(part.value, bytes) else b""
                elif part.number == _DIMS and part.value != 1:
                    return None
            if len(raw) == 4:
                value: float = struct.unpack("<f", raw)[0]
                return value
    return None


def _raised(opset: bytes) -> bytes:
    """An entry of the opsets, of at least the one that knows the operator where it is ONNX's."""
    fields = list(_fields(opset))
    named = b"".join(_bytes_of(field) for field in fields if field.number == _DOMAIN)
    if named:
        return opset
    version = max([_OPSET, *(f.value for f in fields if isinstance(f.value, int))])
    rest = b"".join(field.whole for field in fields if field.number != _VERSION)
    return rest + _varint(_VERSION << 3 | _VARINT) + _varint(version)


def _fields(message: bytes) -> Iterator[_Field]:
    at = 0
    try:
        while at < len(message):
            start = at
            key, at = _read_varint(message, at)
            value: int | bytes
            match key & 7:
                case 0:
                    value, at = _read_varint(message, at)
                case 2:
                    size, at = _read_varint(message, at)
                    value, at = message[at : at + size], at + size
                case 1 | 5 as kind:
                    size = 8 if kind == _EIGHT_BYTES else 4
                    value, at = message[at : at + size], at + size
                case kind:
                    raise ValueError(f"a field of the kind {kind}")
            if at > len(message):
                raise ValueError("it is cut off")
            yield _Field(key >> 3, value, message[start:at])
    except (IndexError, ValueError) as error:
        raise ValueError(f"this is not ONNX that can be read: {error}") from error


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _written(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _bytes_of(field: _Field) -> bytes:
    if not isinstance(field.value, bytes):
        raise ValueError(f"this is not ONNX that can be read: field {field.number} is a number")
    return field.value


def _text(value: int | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
