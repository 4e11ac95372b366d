"""``python -m chromepool.gateway``, as the supervisor starts it."""

from chromepool.gateway.main import main

if __name__ == "__main__":
    main()
