"""What the shop declares; found by discovery like any app's."""
