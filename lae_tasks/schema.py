"""The Parquet schema of a contract or a dataclass, derived from its fields."""

import dataclasses
import types
import typing
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import pyarrow as pa

from lae_tasks.contracts import SCHEMA_VERSION, Float32, Record

_ARROW_OF: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def _arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of a field's annotation, and whether it may be null."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (arg for arg in typing.get_args(annotation) if arg is not type(None))
        return _arrow_type(inner)[0], True
    if annotation == Float32:
        return pa.float32(), False
    if origin is Annotated:
        return _arrow_type(typing.get_args(annotation)[0])
    if origin is tuple:
        args = [arg for arg in typing.get_args(annotation) if arg is not Ellipsis]
        item = pa.field("item", _arrow_type(args[0])[0], nullable=False)
        variable = Ellipsis in typing.get_args(annotation)
        return (pa.list_(item) if variable else pa.list_(item, len(args))), False
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return pa.string(), False
    return _ARROW_OF[annotation], False


def arrow_schema(record_type: type[Record]) -> pa.Schema:
    """The Parquet schema of a contract; its metadata names the contract and its version."""
    metadata = {"lae.contract": record_type.__name__, "lae.schema_version": str(SCHEMA_VERSION)}
    return pa.schema(_fields(record_type, record_type.model_fields), metadata=metadata)


def dataclass_schema(row_type: type) -> pa.Schema:
    """The Parquet schema of a dataclass of plain fields."""
    return pa.schema(_fields(row_type, [field.name for field in dataclasses.fields(row_type)]))


def _fields(row_type: type, names: Iterable[str]) -> list[pa.Field]:
    hints = typing.get_type_hints(row_type, include_extras=True)
    fields = []
    for name in names:
        arrow, nullable = _arrow_type(hints[name])
        fields.append(pa.field(name, arrow, nullable=nullable))
    return fields
