"""Costs of chromepool: ratios against Chrome without it, taken in one run."""
