"""The version of the package: year, month and day, dotted integers, so that versions compare as numbers."""

VERSION = "2026.11.23"
