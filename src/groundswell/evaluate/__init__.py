"""evaluate: what a score is worth: metrics, intervals, calibration, controls, figures, the report. Knows no training."""
