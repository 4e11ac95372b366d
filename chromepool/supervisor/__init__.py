"""The privileged half: forks, limits, reaps. Nothing here listens to the network."""
