"""Serving: trained models for code that has never heard of this package."""
