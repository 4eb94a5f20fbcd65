"""evaluate: what stands beside a model that predicts the waveform common to a bag of traces, in words.

A pipeline brings the runners: this room knows no seismogram.
"""

from __future__ import annotations

from groundswell.evaluate.controls import Control

RAW_STACK = Control(
    "raw_stack", "raw stack", "rival", "The mean of a bag's traces as they are, neither aligned nor turned.",
    "The raw stack")
ICCS_STACK = Control(
    "iccs_stack", "ICCS stack", "rival",
    "The mean of the traces after they were aligned by iterative cross-correlation and stacking.", "The ICCS stack")
WINDOWED_STACK = Control(
    "windowed_stack", "windowed ICCS stack", "rival",
    "The ICCS stack with all but its most energetic seconds set to zero: what lies outside is noise or coda.",
    "The windowed ICCS stack")
ENVELOPE_STACK = Control(
    "envelope_stack", "envelope stack", "rival",
    "The mean of the traces' envelopes. It knows no polarity and can be held against envelopes only.",
    "The envelope stack")
STACK_ONLY = Control(
    "stack_only", "network that sees only the stack", "rival",
    "A network of the same kind that was taught in the same way and sees the ICCS stack alone. What it gains over the "
    "stack comes from what it learnt of sources, and not from the bag.", "The network that sees only the stack")
ORACLE = Control(
    "oracle", "oracle stack", "bound",
    "The mean of the traces aligned by their true shifts and polarities. It knows the truth: a bound for stacks, no "
    "rival.", "The stack aligned by the truth")

WAVEFORM_CONTROLS = {control.name: control for control in
                     (RAW_STACK, ICCS_STACK, WINDOWED_STACK, ENVELOPE_STACK, STACK_ONLY, ORACLE)}
"""By the name that a recipe calls them."""
