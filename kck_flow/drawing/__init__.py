"""Charts as SVG, made on the server: pure functions of points, texts and sizes; no table, no clock, no setting."""
