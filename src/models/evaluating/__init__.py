"""What is told of a finished run besides its predictions: calibration, robustness, explanations."""
