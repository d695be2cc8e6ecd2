"""The app of the counting scenarios: the same table again and again, and who counts it how."""
