"""What chromepool costs: ratios against Chrome without it, taken in one run."""
