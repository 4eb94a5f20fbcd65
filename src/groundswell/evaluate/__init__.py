"""evaluate: what a score is worth: metrics, intervals, calibration, controls, report. Knows no training."""
