"""Values that programs do not expect."""

from typing import Any, Final

from hypothesis import strategies as st

ODD_TEXTS: Final = (
    "", " ", "\0", "a\0b", "\n", "\r\n", "\x1b[31m", "\x7f", "\u2028", "\ufeff", "\ufffe", "\U0010ffff", "\u202e",
    "e\u0301" * 20, "\U0001f468\u200d\U0001f469", "x" * 65, "x" * 129, "x" * 201, "x" * 501, "x" * 5_000, "ä" * 3_000,
    "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "C:\\", "%s%n%x", "%00", "{0}", "{}", "${jndi:x}", "$(id)",
    "'; DROP TABLE jobs; --", "' OR 1=1", "\\", '"', "'", "NaN", "null", "None", "-1", "0", "1e999", "job_",
    "ds_" + "0" * 24, "job_" + "f" * 24,
    "<script>", "a/b", "*", "|", ".", "..", "v1:1", "djE6MQ", "=" * 50, "\uff46\uff55", "İ", "ß",
)  # fmt: skip
"""Empty, long, control characters, other scripts, and what shells, databases, formats and paths take for their own."""
ODD_INTEGERS: Final = (0, 1, -1, 2, 63, 64, 65, 100, 101, 255, 999, 1_000, 1_001, 2**31 - 1, -(2**31), 2**32, 2**53,
                       2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, 10**30)  # fmt: skip
ODD_FLOATS: Final = (0.0, -0.0, 1.0, 0.5, -1.0, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 1e-10, 3.0)

_scalars = st.one_of(
    st.none(), st.booleans(), st.sampled_from(ODD_TEXTS), st.sampled_from(ODD_INTEGERS), st.sampled_from(ODD_FLOATS)
)
_words = st.sampled_from(
    ["type", "function", "name", "schema", "json_schema", "json_object", "properties", "items", "$ref", "#/", "enum",
     "anyOf", "minLength", "pattern", "role", "content", "text", "image_url", "url", "ids", "weights", "density",
     "parameters", "required", "string", "object", "array", "not", "const", "additionalProperties", "hub", "linear"]
)  # fmt: skip
odd_json: st.SearchStrategy[Any] = st.recursive(
    _scalars | _words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words | st.sampled_from(ODD_TEXTS), inner, max_size=5),
    max_leaves=12,
)
"""Anything a field of a row may hold, more often than not made of the words that ingest knows."""
