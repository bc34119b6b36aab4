"""JSON that may stand inside an HTML script element."""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup
from plotly.utils import PlotlyJSONEncoder

_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def json_text(value: Any) -> Markup:
    """Returns the JSON of plain data or of a figure, with every sign written out that could end the element."""
    return Markup(json.dumps(value, cls=PlotlyJSONEncoder, separators=(",", ":"), sort_keys=True).translate(_UNSAFE))
