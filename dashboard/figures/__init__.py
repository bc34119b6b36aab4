"""Figures: each file is one, `figure(frame, ...)`, a pure function of a DataFrame of `dashboard.frames` and its labels.

Figures are drawn in the light palette on a transparent ground; `theme.DARK_FOR_LIGHT` turns their JSON dark.
"""
