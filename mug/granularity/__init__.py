"""The granularities that train phi: one per file, with its head and its loss (MuG Sec. 3.1)."""
