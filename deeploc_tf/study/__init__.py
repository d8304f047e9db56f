"""What strings the stations together: the demo."""
