"""Reads the players of a page."""

from __future__ import annotations

import json
import re
from typing import Any


def players_in(html: str) -> dict[str, dict[str, Any]]:
    """The data of the players by identifier."""
    sections = re.findall(r'<section class="player" id="([^"]*)".*?application/json">(.*?)</script>', html, re.DOTALL)
    return {name: json.loads(data) for name, data in sections}
