"""Formats of the publications of DeepLoc."""
