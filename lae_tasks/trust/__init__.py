"""How right labels are: calibration, risk control, what the audit says, how far stewards agree."""
