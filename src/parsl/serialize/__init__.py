"""Packing of objects and calls for a journey between processes."""

from parsl.serialize.facade import (
    deserialize,
    pack_apply_message,
    pack_res_spec_apply_message,
    serialize,
    unpack_apply_message,
    unpack_res_spec_apply_message,
)

__all__ = [
    "deserialize",
    "pack_apply_message",
    "pack_res_spec_apply_message",
    "serialize",
    "unpack_apply_message",
    "unpack_res_spec_apply_message",
]
